"""Random passwords of an embedded stack, made once and kept beside its data."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

FILE = "secrets.json"


def _random() -> str:
    return secrets.token_urlsafe(32)


def _random_ring() -> str:
    return f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


class Credentials(Struct, kw_only=True, frozen=True):
    """A field that a file of an earlier version lacks is made anew."""

    postgres_password: str = msgspec.field(default_factory=_random)
    api_password: str = msgspec.field(default_factory=_random)
    worker_password: str = msgspec.field(default_factory=_random)
    redis_password: str = msgspec.field(default_factory=_random)
    s3_access_key_id: str = msgspec.field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_access_key: str = msgspec.field(default_factory=_random)
    auth_jwt_secret: str = msgspec.field(default_factory=_random)
    auth_jwt_previous_secret: str = ""
    artifact_hmac_keys: str = msgspec.field(default_factory=_random_ring)

    def __repr__(self) -> str:  # never in a log or a traceback
        return "Credentials(…)"


def load_credentials(directory: Path) -> Credentials:
    """Read `directory/secrets.json` (0600), made on first use."""
    path = directory / FILE
    kept = path.read_bytes() if path.exists() else b"{}"
    credentials = msgspec.json.decode(kept, type=Credentials)
    text = msgspec.json.format(msgspec.json.encode(credentials))
    if text != kept:
        _write_private(path, text)
    return credentials


def _write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others, not for an instant."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
