"""The values that a settings file amounts to."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle

import pytest

from otpservice.config import Secret, SettingsError
from otpservice.config.schema import (
    GATEWAY_KINDS,
    DeliverySchema,
    LimitsSchema,
    RedisSchema,
    ServerSchema,
    SettingsSchema,
    TenantSchema,
    VerificationSchema,
)
from otpservice.config.section import Section
from otpservice.config.settings import (
    DeliverySettings,
    LimitSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    TenantSettings,
    VerificationSettings,
)
from tests.config.examples import API_KEY, SECRET_KEY, read

PAIRS: list[tuple[type[Section], type]] = [
    (SettingsSchema, Settings),
    (ServerSchema, ServerSettings),
    (RedisSchema, RedisSettings),
    (VerificationSchema, VerificationSettings),
    (LimitsSchema, LimitSettings),
    (DeliverySchema, DeliverySettings),
    (TenantSchema, TenantSettings),
    *((kind.schema, kind.settings) for kind in GATEWAY_KINDS.values()),
]


@pytest.mark.parametrize(("schema", "settings"), PAIRS)
def test_every_key_of_the_file_is_a_setting_and_every_setting_a_key(schema: type[Section], settings: type) -> None:
    names = {each.name for each in dataclasses.fields(settings)} - {"name"}
    assert set(schema().load_fields) == names


def test_a_secret_gives_out_its_text_only_when_asked() -> None:
    secret = Secret("pssst")
    assert secret.reveal() == "pssst"
    for shown in (repr(secret), str(secret), f"{secret}", "%s" % secret, repr([secret])):  # noqa: UP031
        assert "pssst" not in shown
        assert "Secret(***)" in shown


def test_a_secret_equals_another_of_the_same_text_and_no_bare_text() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_a_secret_cannot_be_changed() -> None:
    secret = Secret("a")
    with pytest.raises(AttributeError):
        secret._text = "b"
    assert secret.reveal() == "a"


def test_a_secret_stays_hidden_in_a_dict_of_the_settings() -> None:
    assert "redis://" not in repr(dataclasses.asdict(RedisSettings()))


def test_settings_reach_another_process_whole() -> None:
    settings = read(("test_numbers", {"+79990000001": "424242"}), ("public_url", "https://otp.example.com"))
    for received in (pickle.loads(pickle.dumps(settings)), copy.deepcopy(settings)):
        assert received == settings
        assert received.secret_keys[0].reveal() == SECRET_KEY
        assert received.test_numbers["+79990000001"].reveal() == "424242"


def test_settings_can_be_logged_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    settings = read(("redis.url", "redis://:pa55word@redis:6379/0"), ("test_numbers", {"+79990000001": "424242"}))
    with caplog.at_level(logging.INFO):
        logging.getLogger(__name__).info("%s %r", settings, settings)
    assert "mobilgroup" in caplog.text
    for hidden in (SECRET_KEY, API_KEY, "pa55word", "424242", "+79990000001"):
        assert hidden not in caplog.text


def test_settings_cannot_be_changed() -> None:
    settings = read()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.server.port = 1  # type: ignore[misc]


def test_a_settings_error_is_its_errors_one_a_line_also_after_pickling() -> None:
    error = SettingsError(("a: wrong", "b: wrong too"))
    received = pickle.loads(pickle.dumps(error))
    assert str(error) == str(received) == "a: wrong\nb: wrong too"
    assert received.errors == error.errors
