"""The one place where a pickle is opened, which runs code that the file names: only in a child process.

Before that the trainer has checked the signature that the artifact got when it was trained
(`shared/signing.py`), and its SHA-256 while it was fetched. What is opened here are the bytes that were
hashed here, whatever becomes of the file meanwhile. A test finds any other place that unpickles.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from pathlib import Path
from typing import Any

import joblib

from shared.errors import StorageCorrupt


def verified(path: Path, sha256: str) -> Any:
    """Open an artifact whose signature, over this SHA-256, was found to be a trainer's.

    Raises StorageCorrupt, before anything of it is looked at, where the file is another.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if not hmac.compare_digest(found, sha256):
        raise StorageCorrupt(expected=sha256, found=found)
    return joblib.load(io.BytesIO(content))


def reopened(path: Path) -> Any:
    """Open what this very process has just written, as whoever gets the file will."""
    return joblib.load(path)
