"""Signatures of artifacts: what they bind, and key rings."""

from __future__ import annotations

import base64
import hmac
import uuid

import msgspec
import pytest

from shared.errors import ArtifactRefused, ConfigurationError
from shared.settings import Signing, load
from shared.signing import MIN_KEY_BYTES, Artifact, KeyRing, Signature

OLD, NEW = bytes(range(32)), bytes(range(100, 148))
ARTIFACT = Artifact(
    sha256="ab" * 32, user_id=uuid.uuid4(), task_id=uuid.uuid4(), slug="random_forest", attempt=3
)


def written(**keys: bytes) -> str:
    return ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in keys.items())


def changed(**fields: object) -> Artifact:
    return msgspec.structs.replace(ARTIFACT, **fields)


def test_a_signature_is_taken_for_what_was_signed() -> None:
    ring = KeyRing.parse(written(k1=OLD))
    signature = ring.sign(ARTIFACT)
    assert (signature.key_id, len(signature.mac)) == ("k1", 32)
    ring.verify(ARTIFACT, signature)
    message = "\n".join(
        (
            "trainyard artifact v1",
            "ab" * 32,
            str(ARTIFACT.user_id),
            str(ARTIFACT.task_id),
            "random_forest",
            "3",
        )
    )
    assert signature.mac == hmac.digest(OLD, message.encode(), "sha256")


@pytest.mark.parametrize(
    "other",
    [
        changed(sha256="cd" * 32),
        changed(user_id=uuid.uuid4()),
        changed(task_id=uuid.uuid4()),
        changed(slug="extra_trees"),
        changed(attempt=4),
    ],
    ids=["sha256", "user", "task", "slug", "attempt"],
)
def test_it_is_for_these_bytes_of_this_model_of_this_run_of_this_user(other: Artifact) -> None:
    ring = KeyRing.parse(written(k1=OLD))
    with pytest.raises(ArtifactRefused, match="does not fit"):
        ring.verify(other, ring.sign(ARTIFACT))


@pytest.mark.parametrize(
    "other", [changed(sha256="ab"), changed(sha256="AB" * 32), changed(slug="a\nb"), changed(attempt=-1)]
)
def test_what_could_be_read_in_two_ways_is_neither_signed_nor_taken(other: Artifact) -> None:
    ring = KeyRing.parse(written(k1=OLD))
    with pytest.raises(ValueError, match="not an artifact"):
        ring.sign(other)
    with pytest.raises(ArtifactRefused):
        ring.verify(other, ring.sign(ARTIFACT))


def test_another_key_of_the_same_name_does_not_do() -> None:
    signature = KeyRing.parse(written(k1=NEW)).sign(ARTIFACT)
    with pytest.raises(ArtifactRefused, match="does not fit"):
        KeyRing.parse(written(k1=OLD)).verify(ARTIFACT, signature)


def test_one_bit_more_or_less_is_another_signature() -> None:
    ring = KeyRing.parse(written(k1=OLD))
    mac = ring.sign(ARTIFACT).mac
    for wrong in (b"", mac[:-1], mac + b"\0", bytes([mac[0] ^ 1]) + mac[1:]):
        with pytest.raises(ArtifactRefused):
            ring.verify(ARTIFACT, Signature(key_id="k1", mac=wrong))


def test_keys_rotate() -> None:
    before = KeyRing.parse(written(k1=OLD)).sign(ARTIFACT)
    both = KeyRing.parse(written(k2=NEW, k1=OLD))
    after = both.sign(ARTIFACT)
    assert after.key_id == "k2"
    both.verify(ARTIFACT, before)
    both.verify(ARTIFACT, after)
    only_new = KeyRing.parse(written(k2=NEW))
    only_new.verify(ARTIFACT, after)
    with pytest.raises(ArtifactRefused, match="'k1', which is not in") as refused:
        only_new.verify(ARTIFACT, before)
    assert refused.value.context["key_missing"] is True


def test_what_was_never_signed_says_so() -> None:
    with pytest.raises(ArtifactRefused, match="before models were signed"):
        KeyRing.parse(written(k1=OLD)).verify(ARTIFACT, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is required"),
        (" , ", "is required"),
        (base64.b64encode(OLD).decode(), "entry 1 is not written as id:base64"),
        (f"{written(k1=OLD)},{written(**{'k 2': NEW})}", "entry 2 is not written as id:base64"),
        (written(**{"k" * 33: OLD}), "entry 1 is not written"),
        (written(**{"": OLD}), "entry 1 is not written"),
        (f"{written(k1=OLD)},{written(k1=NEW)}", "the id k1 is there twice"),
        ("k1:!" + "a" * 60, "the key k1 is not base64"),
        ("k1:", "has 0 bytes"),
        (written(k1=OLD[:-1]), f"has 31 bytes, and needs {MIN_KEY_BYTES}"),
    ],
)
def test_a_malformed_setting_is_told_without_showing_a_key(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as raised:
        KeyRing.parse(text)
    assert "ARTIFACT_HMAC_KEYS" in raised.value.detail
    assert not any(
        part.partition(":")[2] and part.partition(":")[2] in raised.value.detail for part in text.split(",")
    )


def test_keys_are_read_as_people_write_them() -> None:
    plain = base64.b64encode(OLD).decode()
    for text in (
        f" k1:{plain} , ",
        f"k1:{plain.rstrip('=')}",
        f"k1:{base64.urlsafe_b64encode(OLD).decode()}",
    ):
        KeyRing.parse(text).verify(ARTIFACT, KeyRing.parse(written(k1=OLD)).sign(ARTIFACT))


def test_a_ring_never_shows_its_keys() -> None:
    settings = load(Signing, {"ARTIFACT_HMAC_KEYS": written(k1=OLD, k2=NEW)})
    ring = KeyRing.parse(settings.artifact_hmac_keys)
    assert repr(ring) == "KeyRing(k1, k2)"
    for shown in (repr(settings), f"{ring}", str(settings.artifact_hmac_keys)):
        assert base64.b64encode(OLD).decode() not in shown
