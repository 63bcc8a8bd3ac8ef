"""Keyed digests: each use and each secret has its own, and secrets rotate without a lost login."""

from __future__ import annotations

from typing import cast

import pytest

from otpservice.verification.digests import Keyring
from otpservice.verification.ids import new_id
from tests.support.policies import CODE, EXPIRES, GATEWAY, NUMBER, OTHER_SECRET, SECRET, WRONG_CODE

ID = new_id(0)
OLD, NEW = Keyring([SECRET]), Keyring([OTHER_SECRET])
NOW = EXPIRES - 1.0
ROTATED = Keyring([OTHER_SECRET, SECRET])


def test_the_stored_hash_is_among_what_the_right_code_offers() -> None:
    stored = OLD.code_hash(ID, 2, CODE)
    [offer] = OLD.offers(ID, 3, CODE, None)
    assert offer.key_id == stored.key_id
    assert offer.digests[2 - 1] == stored.digest
    assert offer.digests.count(stored.digest) == 1


@pytest.mark.parametrize(
    ("id", "send", "code"), [(ID, 1, WRONG_CODE), (ID, 2, CODE), (new_id(0), 1, CODE), (ID, 1, CODE[1:])]
)
def test_a_hash_is_bound_to_the_code_the_send_and_the_verification(id: str, send: int, code: str) -> None:
    assert OLD.code_hash(ID, 1, CODE) != OLD.code_hash(id, send, code)


def test_a_rotated_keyring_offers_under_each_key_newest_first() -> None:
    made_before = OLD.code_hash(ID, 1, CODE)
    made_after = ROTATED.code_hash(ID, 1, CODE)
    newest, oldest = ROTATED.offers(ID, 1, CODE, "session")
    assert (newest.key_id, newest.digests) == (made_after.key_id, (made_after.digest,))
    assert (oldest.key_id, oldest.digests) == (made_before.key_id, (made_before.digest,))
    assert oldest.binding == OLD.binding_digest(ID, "session")
    assert newest.binding == NEW.binding_digest(ID, "session")
    assert made_after == NEW.code_hash(ID, 1, CODE)


def test_a_dropped_key_offers_nothing() -> None:
    made_before = OLD.code_hash(ID, 1, CODE)
    assert made_before.key_id not in {offer.key_id for offer in NEW.offers(ID, 1, CODE, None)}


def test_no_binding_is_not_an_empty_binding() -> None:
    assert OLD.binding_digest(ID, None) == ""
    assert OLD.binding_digest(ID, "") != ""
    assert [offer.binding for offer in OLD.offers(ID, 1, CODE, None)] == [""]


def test_a_number_is_recognised_under_every_key() -> None:
    assert ROTATED.number_digest(NUMBER) == NEW.number_digest(NUMBER)
    assert ROTATED.number_digests(NUMBER) == [NEW.number_digest(NUMBER), OLD.number_digest(NUMBER)]


def test_the_same_text_has_another_digest_in_each_use_and_under_each_key() -> None:
    digests = [
        digest
        for keyring in (OLD, NEW)
        for digest in (
            keyring.code_hash("a", 1, "b").digest,
            keyring.binding_digest("a", "1:b"),
            keyring.number_digest("a:1:b"),
            keyring.ip_digest("a:1:b"),
            keyring.idempotency_digest("a", "1:b"),
            keyring.callback_token("a", "1", 1, EXPIRES).rpartition(".")[2],
        )
    ]
    assert len(set(digests)) == len(digests)
    assert {len(digest) for digest in digests} == {22}


def test_an_idempotency_key_counts_together_with_its_number() -> None:
    assert OLD.idempotency_digest(NUMBER, "key") != OLD.idempotency_digest("+79990000000", "key")
    assert OLD.idempotency_digest(NUMBER, "key") != OLD.idempotency_digest(NUMBER, "Key")


def test_a_callback_token_names_its_verification_and_send() -> None:
    assert OLD.read_callback_token(GATEWAY, OLD.callback_token(GATEWAY, ID, 2, EXPIRES), NOW) == (ID, 2)


def test_a_callback_token_of_an_old_key_is_still_good() -> None:
    assert ROTATED.read_callback_token(GATEWAY, OLD.callback_token(GATEWAY, ID, 1, EXPIRES), NOW) == (ID, 1)


def test_a_callback_token_of_a_dropped_key_is_not() -> None:
    assert NEW.read_callback_token(GATEWAY, OLD.callback_token(GATEWAY, ID, 1, EXPIRES), NOW) is None


def test_a_callback_token_is_good_for_one_gateway() -> None:
    assert OLD.read_callback_token("another", OLD.callback_token(GATEWAY, ID, 1, EXPIRES), NOW) is None


def test_a_callback_token_expires() -> None:
    token = OLD.callback_token(GATEWAY, ID, 1, EXPIRES)
    assert OLD.read_callback_token(GATEWAY, token, EXPIRES - 0.001) == (ID, 1)
    assert OLD.read_callback_token(GATEWAY, token, EXPIRES) is None


def test_a_changed_callback_token_is_bad() -> None:
    token = OLD.callback_token(GATEWAY, ID, 1, EXPIRES)
    id_, send, expires, signature = token.split(".")
    for changed in (
        f"{new_id(0)}.{send}.{expires}.{signature}",
        f"{id_}.2.{expires}.{signature}",
        f"{id_}.01.{expires}.{signature}",
        f"{id_}.\u0661.{expires}.{signature}",
        f"{id_}..{expires}.{signature}",
        f"{id_}.{send}.{EXPIRES + 1}.{signature}",
        f"{id_}.{send}.{expires}",
        f"{id_}.{send}.{signature}",
        f"{id_}.{send}.",
        f"{id_}.{send}",
        id_,
        token[:-1],
        token + "A",
        token + ".",
        token.swapcase(),
    ):
        assert OLD.read_callback_token(GATEWAY, changed, NOW) is None, changed


@pytest.mark.parametrize("token", ["", ".", "..", "...", "é.1.é", "\x00", "\u0661" * 30, "a" * 10_000, f"{ID}.1.ключ"])
def test_garbage_is_no_callback_token(token: str) -> None:
    assert OLD.read_callback_token(GATEWAY, token, NOW) is None


def test_nothing_of_a_keyring_shows_a_secret() -> None:
    keyring = Keyring([SECRET])
    inside = [repr(keyring), *(repr(keys) for keys in cast("list[object]", vars(keyring)["_keys"]))]
    assert not any(SECRET.decode() in text or repr(keyring._keys[0].code) in text for text in inside)
