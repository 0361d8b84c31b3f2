"""Signatures for runs that tests make without a trainer."""

from __future__ import annotations

import base64
import uuid

from shared.signing import Artifact, KeyRing, Signature

SETTING = f"test:{base64.b64encode(bytes(range(32))).decode()}"
KEYS = KeyRing.parse(SETTING)


def signed(user: uuid.UUID, task_id: uuid.UUID, slug: str, sha256: str, attempt: int = 1) -> Signature:
    return KEYS.sign(Artifact(sha256=sha256, user_id=user, task_id=task_id, slug=slug, attempt=attempt))
