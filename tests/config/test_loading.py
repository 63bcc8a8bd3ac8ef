"""From a file and the environment to settings, or to every error at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.config import (
    DeliverySettings,
    LimitSettings,
    RedisSettings,
    Secret,
    ServerSettings,
    SettingsError,
    VerificationSettings,
    load,
    parse,
)
from tests.config.examples import API_KEY, DIGEST, SECRET_KEY, document, error_of, errors_of, read
from tests.support.tls import make_certificates

SMALLEST_TOML = f"""
secret_keys = ["{SECRET_KEY}"]
[gateways.mobilgroup]
kind = "mobilgroup"
api_key = "{API_KEY}"
[tenants.signup]
api_keys = ["sha256:{DIGEST}"]
"""


def load_error(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, {})
    (error,) = caught.value.errors
    return error


class TestFile:
    @pytest.mark.parametrize("kind", [str, Path])
    def test_is_read(self, tmp_path: Path, kind: type[str] | type[Path]) -> None:
        path = tmp_path / "otpservice.toml"
        path.write_text(SMALLEST_TOML)
        assert load(kind(path), {}) == read()

    def test_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "otpservice.toml"
        path.write_text(SMALLEST_TOML, encoding="utf-8-sig")
        assert load(path, {}) == read()

    def test_that_names_a_certificate_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        path, ca = tmp_path / "otpservice.toml", tmp_path / "ca.pem"
        path.write_text(f'{SMALLEST_TOML}\n[redis]\nurl = "rediss://h"\ntls_ca = "{ca}"\n')
        assert load_error(path) == f"redis.tls_ca: the file {ca} cannot be read: No such file or directory"
        ca.write_text("no certificate")
        assert load_error(path) == f"redis.tls_ca: the file {ca} holds no certificate in PEM"

    def test_that_names_certificates_in_order_is_read(self, tmp_path: Path) -> None:
        made = make_certificates(tmp_path / "certificates")
        path, (cert, key) = tmp_path / "otpservice.toml", made.client
        files = f'tls_ca = "{made.ca}"\ntls_cert = "{cert}"\ntls_key = "{key}"\n'
        path.write_text(f'{SMALLEST_TOML}\n[redis]\nurl = "rediss://h"\n{files}')
        assert load(path, {}).redis.tls_key == str(key)
        path.write_text(path.read_text().replace(str(key), str(made.server[1])))  # of another certificate
        assert load_error(path).startswith(f"redis.tls_cert: {cert} and redis.tls_key are no certificate and its key")

    def test_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere.toml"
        assert load_error(path) == f"{path}: cannot be read: No such file or directory"

    def test_that_is_a_folder_or_no_name_at_all_is_an_error(self, tmp_path: Path) -> None:
        assert load_error(tmp_path).startswith(f"{tmp_path}: cannot be read: ")
        assert "cannot be read" in load_error(Path("a\0b"))

    def test_that_is_no_toml_is_told_line_and_column(self, tmp_path: Path) -> None:
        path = tmp_path / "otpservice.toml"
        path.write_text('public_url = "https://x"\n[server\n')
        error = load_error(path)
        assert error.startswith(f"{path}: is not TOML: ")
        assert "line 2, column 8" in error

    def test_that_is_not_utf_8_is_told_the_line(self, tmp_path: Path) -> None:
        path = tmp_path / "otpservice.toml"
        path.write_bytes(b"# one\n# \xff\n")
        assert load_error(path) == f"{path}: is not UTF-8 (at line 2)"

    @pytest.mark.parametrize(
        "content",
        [
            "a = " + "[" * 5000,
            "a." * 5000 + "a = 1",
            "a = " + "1" * 5000,
            "a = 9999-99-99",
        ],
    )
    def test_that_nobody_would_write_is_an_error_like_any_other(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "otpservice.toml"
        path.write_text(content)
        with pytest.raises(SettingsError):
            load(path, {})

    @given(content=st.binary() | st.text().map(str.encode))
    def test_of_any_content_raises_nothing_but_a_settings_error(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any.toml"
        path.write_bytes(content)
        with pytest.raises(SettingsError):
            load(path, {})


class TestMissingSections:
    def test_take_the_defaults(self) -> None:
        settings = read()
        assert settings.public_url is None
        assert settings.server == ServerSettings()
        assert settings.redis == RedisSettings()
        assert settings.verification == VerificationSettings()
        assert settings.limits == LimitSettings()
        assert settings.delivery == DeliverySettings()
        assert settings.test_numbers == {}

    def test_that_have_no_default_are_all_named(self) -> None:
        errors = errors_of({})
        assert [error.partition(":")[0] for error in errors] == ["secret_keys", "gateways", "tenants"]

    def test_that_are_empty_take_the_defaults_too(self) -> None:
        empty: list[tuple[str, Any]] = [
            (name, {}) for name in ("server", "redis", "verification", "limits", "delivery", "test_numbers")
        ]
        assert read(*empty) == read()

    @pytest.mark.parametrize("name", ["server", "redis", "verification", "limits", "delivery", "test_numbers"])
    def test_are_tables(self, name: str) -> None:
        assert error_of((name, "x")) == f"{name}: must be a table"


class TestEnvironment:
    def test_gives_any_string(self) -> None:
        environ = {"KEY": SECRET_KEY, "URL": "https://otp.example.com/", "REGION": "RU", "RULE": "1/1s"}
        settings = read(
            ("secret_keys", ["env:KEY"]),
            ("public_url", "env:URL"),
            ("tenants.signup.regions", ["env:REGION"]),
            ("limits.tenant", ["env:RULE"]),
            environ=environ,
        )
        assert settings.secret_keys == (Secret(SECRET_KEY),)
        assert settings.public_url == "https://otp.example.com"
        assert settings.tenants["signup"].regions == {"RU"}
        assert str(settings.limits.tenant[0]) == "1/1s"

    def test_gives_plain_text(self) -> None:
        settings = read(
            ("server.host", "env:HOST"),
            ("delivery.route", ["env:GATEWAY"]),
            environ={"HOST": "::", "GATEWAY": "mobilgroup"},
        )
        assert type(settings.server.host) is str
        assert type(settings.delivery.route[0]) is str

    def test_is_looked_at_once(self) -> None:
        assert read(("server.host", "env:A"), environ={"A": "env:B", "B": "x"}).server.host == "env:B"

    def test_that_lacks_a_variable_is_told_its_name_and_the_path(self) -> None:
        error = error_of(("gateways.mobilgroup.api_key", "env:MOBILGROUP_API_KEY"))
        assert error == "gateways.mobilgroup.api_key: the variable MOBILGROUP_API_KEY is not set"

    @pytest.mark.parametrize(
        "path",
        [
            "public_url",
            "redis.url",
            "server",
            "server.port",
            "server.delivery",
            "delivery.route",
            "gateways.mobilgroup.kind",
            "gateways.mobilgroup.timeout",
            "tenants.signup",
            "tenants.signup.fallback",
            "tenants.signup.default_region",
        ],
    )
    def test_that_lacks_a_variable_is_told_of_it_once_wherever_it_is_used(self, path: str) -> None:
        assert error_of((path, "env:NOT_SET")) == f"{path}: the variable NOT_SET is not set"

    @pytest.mark.parametrize("path", ["secret_keys", "delivery.route", "limits.ip", "tenants.signup.api_keys"])
    def test_that_lacks_a_variable_of_a_list_is_told_of_it_once(self, path: str) -> None:
        assert error_of((path, ["env:NOT_SET"])) == f"{path}[0]: the variable NOT_SET is not set"

    def test_with_an_empty_variable_is_told_the_value_is_empty(self) -> None:
        error = error_of(("gateways.mobilgroup.api_key", "env:K"), environ={"K": ""})
        assert error == "gateways.mobilgroup.api_key: must not be empty"

    def test_must_be_utf_8(self) -> None:
        error = error_of(("secret_keys", ["env:K"]), environ={"K": "\udcff" * 32})
        assert error == "secret_keys[0]: the variable K is not UTF-8"

    def test_needs_a_name(self) -> None:
        assert error_of(("public_url", "env:")) == "public_url: names no variable; write env:NAME"

    def test_gives_text_and_no_number(self) -> None:
        error = error_of(("server.port", "env:PORT"), environ={"PORT": "8080"})
        assert error == "server.port: must be a whole number from 0 to 65535"


class TestSecretFile:
    @pytest.mark.parametrize(
        ("content", "value"),
        [
            (b"key", "key"),
            (b"key\n", "key"),
            (b"key\r\n", "key"),
            (b"key\n\n", "key\n"),
            (b" k\xd0\xb6 \n", " kж "),
        ],
    )
    def test_loses_one_line_end(self, tmp_path: Path, content: bytes, value: str) -> None:
        (tmp_path / "host").write_bytes(content)
        assert read(("server.host", "file:host"), base=tmp_path).server.host == value

    def test_lies_beside_the_settings_file_or_where_its_whole_path_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "beside").write_text("beside")
        (elsewhere / "away").write_text("away")
        settings = tmp_path / "otpservice.toml"
        monkeypatch.chdir(elsewhere)
        settings.write_text(SMALLEST_TOML + '[server]\nhost = "file:beside"\n')
        assert load(settings, {}).server.host == "beside"
        settings.write_text(SMALLEST_TOML + f'[server]\nhost = "file:{elsewhere / "away"}"\n')
        assert load(settings, {}).server.host == "away"

    def test_that_cannot_be_read_is_named_with_the_path(self, tmp_path: Path) -> None:
        error = error_of(("redis.url", "file:nowhere"), base=tmp_path)
        where = tmp_path / "nowhere"
        assert error == f"redis.url: the file {where} cannot be read: No such file or directory"
        assert "cannot be read" in error_of(("redis.url", "file:."), base=tmp_path)
        assert "cannot be read" in error_of(("redis.url", "file:a\0b"), base=tmp_path)
        assert error_of(("redis.url", "file:")) == "redis.url: names no file; write file:PATH"

    def test_must_be_utf_8_and_no_larger_than_64_kib(self, tmp_path: Path) -> None:
        (tmp_path / "latin").write_bytes(b"secret-\xff")
        assert error_of(("redis.url", "file:latin"), base=tmp_path).endswith("latin is not UTF-8")
        (tmp_path / "fits").write_text("x" * 65536)
        assert len(read(("server.host", "file:fits"), base=tmp_path).server.host) == 65536
        (tmp_path / "large").write_text("x" * 65537)
        assert error_of(("server.host", "file:large"), base=tmp_path).endswith("is larger than 65536 bytes")


class TestErrors:
    def test_are_reported_all_at_once_in_the_order_of_the_file(self) -> None:
        wrong = {
            "public_url": "env:PUBLIC_URL",
            "secret_keys": [SECRET_KEY, "short"],
            "server": {"port": True, "host": "env:HOST", "workrs": 2},
            "limits": {"number": ["5/1h", "x"]},
            "delivery": {"route": ["x"]},
            "gateways": {"mobilgroup": {"kind": "mobilgroup", "api_key": "env:KEY", "auth": "x"}},
            "tenants": {
                "a": {"api_keys": [f"sha256:{DIGEST}"], "default_region": "RU", "regions": ["KZ"]},
                "b": {"api_keys": [f"sha256:{DIGEST}"], "limits": {"ip": [5]}},
            },
            "test_numbers": {"+7": "42"},
        }
        assert [error.partition(": ")[0] for error in errors_of(wrong)] == [
            "public_url",
            "secret_keys[1]",
            "server.port",
            "server.host",
            "server.workrs",
            "limits.number[1]",
            "delivery.route[0]",
            "gateways.mobilgroup.api_key",
            "gateways.mobilgroup.auth",
            "tenants.a.default_region",
            "tenants.b.api_keys[0]",
            "tenants.b.limits.ip[0]",
            'test_numbers."+7"',
            'test_numbers."+7"',
        ]

    @pytest.mark.parametrize(
        ("path", "meant"),
        [
            ("publik_url", "public_url"),
            ("server.worker", "workers"),
            ("gateways.mobilgroup.apikey", "api_key"),
            ("tenants.signup.limits.numbers", "number"),
        ],
    )
    def test_guess_what_an_unknown_key_was_meant_to_be(self, path: str, meant: str) -> None:
        assert error_of((path, 1)) == f"{path}: unknown key; did you mean {meant}?"

    def test_name_the_known_keys_where_an_unknown_one_resembles_none(self) -> None:
        known = "url, partitions, min_replicas_ack, tls_ca, tls_cert, tls_key"
        assert error_of(("redis.zzz", 1)) == f"redis.zzz: unknown key; known here: {known}"

    def test_tell_of_an_unknown_key_also_where_its_value_cannot_be_looked_up(self) -> None:
        assert len(errors_of(document(("zzz", "env:NOT_SET")))) == 2

    def test_tell_of_text_that_no_utf_8_can_hold(self) -> None:
        assert error_of(("secret_keys", ["\ud800" * 32])) == "secret_keys[0]: is not valid Unicode"

    def test_are_one_line_each_whatever_the_keys(self) -> None:
        wrong = document(("a\nb", 1), ("c\u2028d", 1), ("gateways", {"e\nf": {}, "g": {}}))
        for error in errors_of(wrong):
            assert len(error.splitlines()) == 1

    def test_keep_nothing_that_a_log_of_the_traceback_would_show(self) -> None:
        with pytest.raises(SettingsError) as caught:
            parse(document(("secret_keys", ["short-secret"])), {}, Path())
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
