"""Signatures of artifacts: HMAC-SHA256 (RFC 2104) made at training time, with keys that only workers have.

A pickle is a program. Its SHA-256 says that it arrived whole; that it is the one a trainer wrote, and not
one that somebody put there together with a row of the database, is said by its signature alone. No I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from typing import Self

from msgspec import Struct

from shared.errors import ArtifactRefused, ConfigurationError

MIN_KEY_BYTES = 32
"""As long as what SHA-256 gives: a longer key gains nothing, a shorter one is easier to guess."""

_DOMAIN = b"trainyard artifact v1\n"
"""What the same key might sign elsewhere can never be taken for the signature of an artifact."""

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")


class Artifact(Struct, frozen=True, kw_only=True):
    """What a signature speaks of: these bytes, of this model, of this run, of this user.

    A copy in the registry keeps all of it, so that the signature of the one is that of the other.
    """

    sha256: str
    user_id: uuid.UUID
    task_id: uuid.UUID
    slug: str
    attempt: int

    def message(self) -> bytes:
        """The domain, then one field a line; none can hold the end of a line. Raises ValueError where one
        is not what it is called."""
        if not _SHA256.fullmatch(self.sha256) or not _SLUG.fullmatch(self.slug) or self.attempt < 0:
            raise ValueError("not an artifact that can be signed")
        fields = (self.sha256, str(self.user_id), str(self.task_id), self.slug, str(self.attempt))
        return _DOMAIN + "\n".join(fields).encode("ascii")


class Signature(Struct, frozen=True, kw_only=True):
    """`mac`: 32 bytes. `key_id` says with which key it was made, so that keys can be changed."""

    key_id: str
    mac: bytes


class KeyRing:
    """The first key signs, all of them verify."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise ConfigurationError("environment variable ARTIFACT_HMAC_KEYS is required")
        self._keys = dict(keys)
        self.signs_with = next(iter(keys))

    def __repr__(self) -> str:  # never in a log or a traceback
        return f"KeyRing({', '.join(self._keys)})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `id:base64,id:base64`; an id is 1 to 32 of A-Z, a-z, 0-9, `-` and `_`, a key at least 32
        bytes. Raises ConfigurationError, which never repeats what stands where a key is expected."""
        keys: dict[str, bytes] = {}
        for position, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            key_id, colon, encoded = entry.partition(":")
            if not colon or not _KEY_ID.fullmatch(key_id):
                raise _wrong(f"entry {position} is not written as id:base64")
            if key_id in keys:
                raise _wrong(f"the id {key_id} is there twice")
            keys[key_id] = _decoded(key_id, encoded)
        return cls(keys)

    def sign(self, artifact: Artifact) -> Signature:
        return Signature(key_id=self.signs_with, mac=_mac(self._keys[self.signs_with], artifact))

    def verify(self, artifact: Artifact, signature: Signature | None) -> None:
        """Raises ArtifactRefused where this ring's keys did not sign it, or nobody did."""
        if signature is None:
            raise ArtifactRefused(
                "The model was trained before models were signed, and is not opened here: train it again",
                artifact=str(artifact.task_id),
            )
        key = self._keys.get(signature.key_id)
        if key is None:
            raise ArtifactRefused(
                f"The model is signed with the key {signature.key_id!r}, which is not in ARTIFACT_HMAC_KEYS",
                key_missing=True,
            )
        try:
            expected = _mac(key, artifact)
        except ValueError:  # a row that no trainer wrote
            raise ArtifactRefused from None
        if not hmac.compare_digest(expected, signature.mac):
            raise ArtifactRefused


def _mac(key: bytes, artifact: Artifact) -> bytes:
    return hmac.digest(key, artifact.message(), hashlib.sha256)


def _decoded(key_id: str, encoded: str) -> bytes:
    # both alphabets of RFC 4648, with padding or without: what a person's tool happens to print
    plain = encoded.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(f"the key {key_id} is not base64") from None
    if len(key) < MIN_KEY_BYTES:
        raise _wrong(f"the key {key_id} has {len(key)} bytes, and needs {MIN_KEY_BYTES} or more")
    return key


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"environment variable ARTIFACT_HMAC_KEYS: {what}")
