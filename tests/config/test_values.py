"""What each value of a settings file may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.config import MobilgroupSettings, Secret, Settings
from otpservice.verification.limits import Rule
from tests.config.examples import (
    API_KEY,
    DIGEST,
    OTHER_DIGEST,
    SECRET_KEY,
    document,
    error_of,
    errors_of,
    read,
    without,
)

RANGES = [
    ("server.port", 0, 65535),
    ("server.workers", 1, 64),
    ("server.threads", 1, 1024),
    ("redis.partitions", 1, 1296),
    ("redis.min_replicas_ack", 0, 10),
    ("verification.code_length", 4, 6),
    ("verification.ttl", 30, 600),
    ("verification.max_attempts", 1, 10),
    ("verification.max_sends", 1, 10),
    ("verification.resend_after", 0, 600),
    ("verification.retention", 60, 86400),
    ("delivery.deadline", 1, 120),
    ("delivery.max_backlog", 1, None),
    ("gateways.mobilgroup.max_in_flight", 1, 10000),
    ("tenants.signup.verification.ttl", 30, 600),
]


def value_at(settings: Settings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


@pytest.mark.parametrize(("path", "low", "high"), RANGES)
def test_a_number_may_be_at_the_ends_of_its_range(path: str, low: int, high: int | None) -> None:
    for number in (low, high if high is not None else 10**12):
        assert value_at(read((path, number)), path) == number


@pytest.mark.parametrize(("path", "low", "high"), RANGES)
def test_a_number_past_the_ends_of_its_range_is_told_the_range(path: str, low: int, high: int | None) -> None:
    for number in (low - 1, *([high + 1] if high is not None else [])):
        error = error_of((path, number))
        assert error.startswith(f"{path}: must be a whole number")
        assert str(low) in error
        assert high is None or str(high) in error


@pytest.mark.parametrize("path", [path for path, _, _ in RANGES])
@pytest.mark.parametrize("wrong", [True, False, 5.0, "5", [5], {"five": 5}])
def test_a_whole_number_is_nothing_else_that_looks_like_one(path: str, wrong: object) -> None:
    assert error_of((path, wrong)).startswith(f"{path}: must be a whole number")


@pytest.mark.parametrize("wrong", [0, 1, "true", "yes", 1.0])
def test_true_and_false_are_nothing_else_that_looks_like_them(wrong: object) -> None:
    assert error_of(("server.delivery", wrong)) == "server.delivery: must be true or false"


def test_the_worker_inside_the_server_can_be_switched_off() -> None:
    assert read(("server.delivery", False)).server.delivery is False


@pytest.mark.parametrize("right", [0.25, 1, 60, 60.0])
def test_a_timeout_may_be_whole_or_not(right: float) -> None:
    assert read(("gateways.mobilgroup.timeout", right)).gateways["mobilgroup"].timeout == right


@pytest.mark.parametrize("wrong", [0, -1, 60.001, 61, True, "10", float("nan"), float("inf"), 10**400, -(10**400)])
def test_a_timeout_is_over_0_and_up_to_60_seconds(wrong: object) -> None:
    error = error_of(("gateways.mobilgroup.timeout", wrong))
    assert error == "gateways.mobilgroup.timeout: must be a number over 0 and up to 60 (seconds)"


class TestSecretKeys:
    def test_are_kept_in_their_order(self) -> None:
        keys = read(("secret_keys", ["b" * 32, "a" * 32])).secret_keys
        assert keys == (Secret("b" * 32), Secret("a" * 32))

    def test_are_measured_in_bytes(self) -> None:
        assert len(read(("secret_keys", ["ж" * 16])).secret_keys) == 1
        assert len(errors_of(document(("secret_keys", ["ж" * 15 + "x"])))) == 1

    @pytest.mark.parametrize("wrong", [without("secret_keys"), document(("secret_keys", []))])
    def test_are_required_and_the_error_says_how_to_make_one(self, wrong: dict[str, Any]) -> None:
        (error,) = errors_of(wrong)
        assert error.startswith("secret_keys: ")
        assert 'python -c "import secrets; print(secrets.token_urlsafe(32))"' in error

    def test_that_are_too_short_are_told_how_to_make_one_and_not_shown(self) -> None:
        error = error_of(("secret_keys", [SECRET_KEY, "x9" * 15]))
        assert error.startswith("secret_keys[1]: is too short")
        assert 'python -c "import secrets; print(secrets.token_urlsafe(32))"' in error
        assert "x9" not in error

    def test_differ(self) -> None:
        error = error_of(("secret_keys", [SECRET_KEY, "y" * 32, SECRET_KEY]))
        assert error == "secret_keys[2]: is the same as [0]"


class TestPublicUrl:
    @pytest.mark.parametrize(
        ("written", "read_as"),
        [
            ("https://otp.example.com", "https://otp.example.com"),
            ("https://otp.example.com/", "https://otp.example.com"),
            ("http://127.0.0.1:8080/otp/", "http://127.0.0.1:8080/otp"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ],
    )
    def test_has_no_slash_at_its_end(self, written: str, read_as: str) -> None:
        assert read(("public_url", written)).public_url == read_as

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            "otp.example.com",
            "ftp://otp.example.com",
            "https://",
            "https:///path",
            "https://otp.example.com?a=1",
            "https://otp.example.com/?",
            "https://otp.example.com/#here",
            "https://user:pw@otp.example.com",
            "https://otp.example.com:port",
            "https://otp.example.com:70000",
            "https://[::1",
            "https://otp.example.com/\n",
            "https://otp .example.com",
            5,
        ],
    )
    def test_is_an_http_url_up_to_its_path(self, wrong: object) -> None:
        assert error_of(("public_url", wrong)).startswith("public_url: ")


class TestRedisUrl:
    @pytest.mark.parametrize(
        "right",
        [
            "redis://localhost",
            "redis://127.0.0.1:6379/0",
            "rediss://user:p%40ss%2F@redis.example.com:6380/15?ssl_cert_reqs=required",
            "unix:///run/redis.sock?db=1",
            "unix://user:pw@/run/redis.sock",
            "redis://[::1]:6379/0",
            "redis+sentinel://h1,h2:26380,[::1]:26381/mymaster/0",
            "rediss+sentinel://user:p%40ss%2F@10.0.0.1/mymaster",
        ],
    )
    def test_is_taken_as_it_is(self, right: str) -> None:
        assert read(("redis.url", right)).redis.url == Secret(right)

    @pytest.mark.parametrize("right", ["redis+cluster://h1:7000,h2", "rediss+cluster://user:p%40ss@10.0.0.1/0"])
    def test_of_a_cluster_is_taken_with_partitions(self, right: str) -> None:
        assert read(("redis.url", right), ("redis.partitions", 16)).redis.url == Secret(right)

    @pytest.mark.parametrize("partitions", [1, 15])
    def test_of_a_cluster_needs_partitions(self, partitions: int) -> None:
        error = error_of(("redis.url", "redis+cluster://h1"), ("redis.partitions", partitions))
        assert error.startswith("redis.partitions: must be 16 or more on a cluster")
        assert error_of(("redis.url", "redis+cluster://h1")) == error

    @pytest.mark.parametrize(
        "wrong",
        [
            "localhost:6379",
            "http://:pa55word@localhost",
            "REDIS://:pa55word@localhost",
            "redis://",
            "redis://:pa55word@",
            "redis://:pa55word@/0",
            "redis://:pa55word@localhost/master",
            "redis://:pa55word@localhost:port",
            "redis://:pa55word@localhost:6379/0?db=x",
            "redis://:1/pa55word@localhost/0",
            "redis://user:1?pa55word@localhost/0",
            "redis://user:1#pa55word@localhost/0",
            "redis://:pa55word @localhost",
            "unix://run/pa55word.sock",
            "unix://",
            "unix://:1/pa55word@/run/redis.sock",
            "redis+sentinel://",
            "redis+sentinel://:pa55word@h1,h2",
            "redis+sentinel://:pa55word@h1,h2/master/x",
            "redis+sentinel://:pa55word@h1,,h2/master",
            "redis+sentinel://:pa55word@h1:0/master",
            "redis+sentinel://:pa55word@h1:70000/master",
            "redis+sentinel://:pa55word@h1/master?db=1",
            "redis+sentinel://:1/pa55word@h1/master",
            "redis+sentinel://user:1@pa55word@h1/master",
            "redis+cluster",
        ],
    )
    def test_that_is_wrong_is_not_shown(self, wrong: str) -> None:
        error = error_of(("redis.url", wrong))
        assert error.startswith("redis.url: ")
        assert "pa55word" not in error

    @pytest.mark.parametrize(
        "wrong",
        [
            "redis+cluster://",
            "redis+cluster://:pa55word@h1:port",
            "redis+cluster://:pa55word@h1/1",
            "redis+cluster://h1 ",
        ],
    )
    def test_of_a_cluster_that_is_wrong_is_not_shown(self, wrong: str) -> None:
        error = error_of(("redis.url", wrong), ("redis.partitions", 16))
        assert error.startswith("redis.url: ")
        assert "pa55word" not in error


class TestRedisTls:
    CA = ("redis.tls_ca", "/etc/ca.pem")
    CERT = ("redis.tls_cert", "/etc/client.pem")
    KEY = ("redis.tls_key", "/etc/client.key")

    @pytest.mark.parametrize("scheme", ["rediss://h", "rediss+sentinel://h/m"])
    def test_is_three_paths(self, scheme: str) -> None:
        redis = read(("redis.url", scheme), self.CA, self.CERT, self.KEY).redis
        assert (redis.tls_ca, redis.tls_cert, redis.tls_key) == ("/etc/ca.pem", "/etc/client.pem", "/etc/client.key")

    @pytest.mark.parametrize("change", [CA, CERT, KEY])
    def test_has_no_use_with_a_url_without_it(self, change: tuple[str, str]) -> None:
        """Else someone believes in a TLS that is not there."""
        assert error_of(change).startswith(f"{change[0]}: has no use without TLS; redis.url must begin with rediss://")

    def test_needs_the_key_of_a_certificate(self) -> None:
        assert error_of(("redis.url", "rediss://h"), self.CERT) == "redis.tls_key: is required with tls_cert"
        assert error_of(("redis.url", "rediss://h"), self.KEY) == "redis.tls_cert: is required with tls_key"

    @pytest.mark.parametrize("wrong", ["ca.pem", "", 1, "/etc/\n"])
    def test_is_a_path_from_the_root(self, wrong: object) -> None:
        assert error_of(("redis.url", "rediss://h"), ("redis.tls_ca", wrong)).startswith("redis.tls_ca: must ")


class TestLimits:
    def test_are_rules(self) -> None:
        limits = read(("limits", {"number": ["3/10m", "9/1d"], "ip": []})).limits
        assert limits.number == (Rule(3, 600), Rule(9, 86400))
        assert limits.ip == ()

    @pytest.mark.parametrize("wrong", ["5", "5/h", "0/1h", "5/1w", "5/400d", ""])
    def test_of_another_form_are_told_the_form(self, wrong: str) -> None:
        error = error_of(("tenants.signup.limits.number", ["5/1h", wrong]))
        assert error.startswith("tenants.signup.limits.number[1]: must ")

    def test_are_eight_at_most(self) -> None:
        assert len(read(("limits.tenant", ["1/1s"] * 8)).limits.tenant) == 8
        assert error_of(("limits.tenant", ["1/1s"] * 9)) == "limits.tenant: at most 8 are allowed"

    def test_are_a_list(self) -> None:
        assert error_of(("limits.tenant", "1/1s")) == "limits.tenant: must be a list"


class TestRoute:
    def test_keeps_its_order(self) -> None:
        second = {"kind": "mobilgroup", "api_key": API_KEY}
        changes = (("gateways.reserve", second), ("delivery.route", ["reserve", "mobilgroup"]))
        assert read(*changes).delivery.route == ("reserve", "mobilgroup")

    def test_leads_to_gateways_that_are_there(self) -> None:
        error = error_of(("delivery.route", ["mobilgroup", "x"]))
        assert error == 'delivery.route[1]: no gateway "x" is configured; there are: mobilgroup'

    def test_by_default_needs_its_gateway_too(self) -> None:
        gateways = {"reserve": {"kind": "mobilgroup", "api_key": API_KEY}}
        error = error_of(("gateways", gateways))
        assert error == 'delivery.route[0]: no gateway "mobilgroup" is configured; there are: reserve'

    def test_counts_a_gateway_that_is_itself_wrong_as_there(self) -> None:
        assert error_of(("gateways.mobilgroup.auth", "basic")).startswith("gateways.mobilgroup.auth: ")

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ([], "delivery.route: at least one is needed"),
            (["mobilgroup", "mobilgroup"], "delivery.route[1]: is the same as [0]"),
            ("mobilgroup", "delivery.route: must be a list"),
            ([5], "delivery.route[0]: must be text, in quotes"),
        ],
    )
    def test_names_one_gateway_or_more_each_once(self, wrong: object, error: str) -> None:
        assert error_of(("delivery.route", wrong)) == error


class TestGateways:
    def test_take_the_defaults(self) -> None:
        gateway = read().gateways["mobilgroup"]
        assert isinstance(gateway, MobilgroupSettings)
        assert gateway.name == gateway.kind == "mobilgroup"
        assert gateway.url == "https://tg.mobilgroup.ru/api/send/"
        assert gateway.api_key.reveal() == API_KEY
        assert (gateway.auth, gateway.timeout, gateway.max_in_flight) == ("header", 10, 200)

    def test_may_send_their_key_in_the_body(self) -> None:
        gateway = read(("gateways.mobilgroup.auth", "body")).gateways["mobilgroup"]
        assert isinstance(gateway, MobilgroupSettings)
        assert gateway.auth == "body"

    def test_say_what_they_speak(self) -> None:
        (error,) = errors_of(without("gateways.mobilgroup.kind"))
        assert error == "gateways.mobilgroup.kind: is required"
        assert error_of(("gateways.mobilgroup.kind", "x")) == (
            "gateways.mobilgroup.kind: must be one of: mobilgroup, telegram_gateway, http"
        )

    def test_need_a_key(self) -> None:
        assert errors_of(without("gateways.mobilgroup.api_key")) == ("gateways.mobilgroup.api_key: is required",)

    @pytest.mark.parametrize("wrong", ["", "zwei Worte", "k3y\n", "ключ", "\ufeffk3y"])
    def test_have_a_key_that_fits_into_a_header(self, wrong: str) -> None:
        error = error_of(("gateways.mobilgroup.api_key", wrong))
        assert error.startswith("gateways.mobilgroup.api_key: must ")
        assert not wrong or wrong.strip() not in error

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({}, "gateways: at least one is needed"),
            ({"mobilgroup": 5}, "gateways.mobilgroup: must be a table"),
            (5, "gateways: must be a table"),
        ],
    )
    def test_are_tables(self, wrong: object, error: str) -> None:
        assert errors_of(document(("gateways", wrong)))[0] == error


class TestTenants:
    def test_take_the_general_settings(self) -> None:
        settings = read(("verification.ttl", 60), ("limits.ip", ["1/1s"]))
        tenant = settings.tenants["signup"]
        assert (tenant.name, tenant.api_keys) == ("signup", (DIGEST,))
        assert (tenant.fallback, tenant.default_region, tenant.regions) == ("sms", None, frozenset())
        assert tenant.verification == settings.verification
        assert tenant.limits == settings.limits
        assert tenant.verification.ttl == 60

    def test_differ_from_the_general_settings_only_in_what_they_set_again(self) -> None:
        settings = read(
            ("verification.ttl", 60),
            ("limits.ip", ["1/1s"]),
            ("tenants.signup.verification.code_length", 4),
            ("tenants.signup.limits.number", []),
        )
        tenant = settings.tenants["signup"]
        assert (tenant.verification.code_length, tenant.verification.ttl) == (4, 60)
        assert (tenant.limits.number, tenant.limits.ip) == ((), (Rule(1, 1),))
        assert settings.verification.code_length == 6
        assert settings.limits.number == (Rule(5, 3600), Rule(10, 86400))

    def test_may_set_a_default_again(self) -> None:
        settings = read(("verification.ttl", 60), ("tenants.signup.verification.ttl", 300))
        assert settings.tenants["signup"].verification.ttl == 300

    @pytest.mark.parametrize("fallback", ["voice", "sms", "none"])
    def test_choose_a_fallback(self, fallback: str) -> None:
        assert read(("tenants.signup.fallback", fallback)).tenants["signup"].fallback == fallback

    def test_are_told_the_fallbacks_there_are(self) -> None:
        error = error_of(("tenants.signup.fallback", "fax"))
        assert error == "tenants.signup.fallback: must be one of: voice, sms, none"

    def test_have_their_regions(self) -> None:
        tenant = read(("tenants.signup.default_region", "RU"), ("tenants.signup.regions", ["RU", "KZ"]))
        assert tenant.tenants["signup"].default_region == "RU"
        assert tenant.tenants["signup"].regions == {"RU", "KZ"}

    @pytest.mark.parametrize("wrong", ["ru", "RUS", "ZZ", "001", "", 7])
    def test_have_regions_that_exist(self, wrong: object) -> None:
        assert error_of(("tenants.signup.default_region", wrong)).startswith("tenants.signup.default_region: must ")
        assert error_of(("tenants.signup.regions", ["RU", wrong])).startswith("tenants.signup.regions[1]: must ")

    def test_serve_their_default_region(self) -> None:
        changes = ("tenants.signup.default_region", "RU"), ("tenants.signup.regions", ["KZ"])
        assert error_of(*changes) == "tenants.signup.default_region: must be one of the regions"
        assert read(changes[0], ("tenants.signup.regions", [])).tenants["signup"].default_region == "RU"

    def test_are_told_of_a_region_only_once(self) -> None:
        changes = ("tenants.signup.default_region", "RU"), ("tenants.signup.regions", ["RUS"])
        assert error_of(*changes).startswith("tenants.signup.regions[0]: ")

    def test_have_digests_in_lower_case(self) -> None:
        keys = ["sha256:" + "AB" * 32, "sha256:" + "cd" * 32]
        assert read(("tenants.signup.api_keys", keys)).tenants["signup"].api_keys == ("ab" * 32, "cd" * 32)

    @pytest.mark.parametrize(
        "wrong", [DIGEST, f"sha256:{DIGEST}0", f"sha256:{DIGEST[1:]}", f"md5:{DIGEST}", f"sha256:{'0g' * 32}"]
    )
    def test_have_digests_that_are_not_shown_where_they_are_wrong(self, wrong: str) -> None:
        error = error_of(("tenants.signup.api_keys", [wrong]))
        assert error.startswith('tenants.signup.api_keys[0]: must be "sha256:" and 64 hex digits')
        assert wrong.removeprefix("sha256:") not in error

    def test_need_a_key(self) -> None:
        assert errors_of(without("tenants.signup.api_keys")) == ("tenants.signup.api_keys: is required",)
        assert error_of(("tenants.signup.api_keys", [])) == "tenants.signup.api_keys: at least one is needed"

    def test_never_share_a_key(self) -> None:
        other = {"api_keys": [f"sha256:{OTHER_DIGEST}", f"sha256:{DIGEST.upper()}"]}
        error = error_of(("tenants.other", other))
        assert error.startswith("tenants.other.api_keys[1]: is the same key as tenants.signup.api_keys[0]")
        assert DIGEST not in error.lower()

    def test_are_told_of_a_malformed_key_only_that_it_is(self) -> None:
        errors = errors_of(document(("tenants.signup.api_keys", ["clear"]), ("tenants.other", {"api_keys": ["clear"]})))
        assert len(errors) == 2
        assert all('must be "sha256:"' in error for error in errors)

    def test_are_there(self) -> None:
        assert errors_of(without("tenants")) == ("tenants: is required",)
        assert error_of(("tenants", {})) == "tenants: at least one is needed"

    @pytest.mark.parametrize("table", ["gateways", "tenants"])
    @pytest.mark.parametrize("name", ["A", "a b", "ж", "", "x" * 33, "a\nb"])
    def test_and_gateways_have_plain_names(self, table: str, name: str) -> None:
        entries = {
            "gateways": {"kind": "mobilgroup", "api_key": API_KEY},
            "tenants": {"api_keys": [f"sha256:{OTHER_DIGEST}"]},
        }
        wrong = document()
        wrong[table][name] = entries[table]
        (error,) = errors_of(wrong)
        assert error.startswith(f"{table}.")
        assert "a name must be 1 to 32 of a-z, 0-9, _ and -" in error
        assert "\n" not in error

    def test_may_have_names_of_32_characters(self) -> None:
        name = "a-b_9" + "x" * 27
        assert set(read(("tenants", {name: {"api_keys": [f"sha256:{DIGEST}"]}})).tenants) == {name}


class TestTestNumbers:
    def test_have_a_code(self) -> None:
        numbers = read(("test_numbers", {"+79990000001": "0042", "+1234567": "424242"})).test_numbers
        assert numbers == {"+79990000001": Secret("0042"), "+1234567": Secret("424242")}

    @pytest.mark.parametrize("wrong", ["123", "1234567", "12 34", "١٢٣٤", "12a4", "1234\n", 1234])
    def test_have_a_code_of_4_to_6_digits_that_is_not_shown_where_it_is_wrong(self, wrong: object) -> None:
        error = error_of(("test_numbers", {"+79990000001": wrong}))
        assert error.startswith('test_numbers."+79990000001": must be ')
        assert str(wrong).strip() not in error.replace("+79990000001", "")

    @pytest.mark.parametrize("wrong", ["79990000001", "+123456", "+" + "1" * 16, "+0999000000", "+7 999 0000001"])
    def test_are_in_international_form(self, wrong: str) -> None:
        error = error_of(("test_numbers", {wrong: "424242"}))
        assert "a number must be + and 7 to 15 digits" in error


@given(st.text())
def test_any_text_is_a_host_unless_it_is_empty_or_stands_elsewhere(host: str) -> None:
    if host and not host.startswith(("env:", "file:")):
        assert read(("server.host", host)).server.host == host
    elif not host:
        assert error_of(("server.host", host)) == "server.host: must not be empty"
