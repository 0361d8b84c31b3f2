"""Accounts, their API keys, and the trail of what was done in them."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from shared.contracts.registry import VISIBLE


class Scope(enum.StrEnum):
    """What a key may do: each holds those before it."""

    READ = "read"
    TRAIN = "train"
    ADMIN = "admin"


class ApiKeyRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=VISIBLE)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=3)]
    expires_in_s: Annotated[int, Meta(ge=60, le=10 * 365 * 86400)] | None = None


class ApiKey(Struct, kw_only=True):
    """A key as it is listed. `prefix` is how its secret begins: by it a key is told from another."""

    id: uuid.UUID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: dt.datetime
    expires_at: dt.datetime | UnsetType = UNSET
    last_used_at: dt.datetime | UnsetType = UNSET


class NewApiKey(ApiKey, kw_only=True):
    """`key`: the secret, in the one answer that ever has it."""

    key: str | UnsetType = UNSET


class AuditAction(enum.StrEnum):
    """What the audit trail tells of. `link_issued`: a link was signed; `downloaded`: the last byte left
    through the API; `downloaded_in_part`: other bytes did."""

    FILE_UPLOADED = "file.uploaded"
    FILE_DELETED = "file.deleted"
    RUN_STARTED = "run.started"
    RUN_CANCELLED = "run.cancelled"
    RUN_RESUMED = "run.resumed"
    RUN_DELETED = "run.deleted"
    MODEL_LINK_ISSUED = "model.link_issued"
    MODEL_DOWNLOADED = "model.downloaded"
    MODEL_DOWNLOADED_IN_PART = "model.downloaded_in_part"
    LEADERBOARD_LINK_ISSUED = "leaderboard.link_issued"
    LEADERBOARD_DOWNLOADED = "leaderboard.downloaded"
    LEADERBOARD_DOWNLOADED_IN_PART = "leaderboard.downloaded_in_part"
    BUNDLE_LINK_ISSUED = "bundle.link_issued"
    BUNDLE_DOWNLOADED = "bundle.downloaded"
    BUNDLE_DOWNLOADED_IN_PART = "bundle.downloaded_in_part"
    EXPORT_LINK_ISSUED = "export.link_issued"
    EXPORT_DOWNLOADED = "export.downloaded"
    EXPORT_DOWNLOADED_IN_PART = "export.downloaded_in_part"
    MODEL_SAVED = "model.saved"
    MODEL_CHANGED = "model.changed"
    MODEL_DELETED = "model.deleted"
    MODEL_RESTORED = "model.restored"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    SESSION_BEGUN = "session.begun"
    ACCOUNT_ACTED_AS = "account.acted_as"
    ACCOUNT_EXPORT_ASKED = "account.export_asked"
    ACCOUNT_EXPORTED = "account.exported"
    ACCOUNT_EXPORT_DROPPED = "account.export_dropped"
    ACCOUNT_DELETION_ASKED = "account.deletion_asked"
    ACCOUNT_DELETED = "account.deleted"


class AuditEntry(Struct, kw_only=True):
    """`actor`: user (a signed-in person), service (another service in their name), key (their API key,
    `key_id`), system (Trainyard itself). `detail` depends on the action: a file's or a model's name, the
    lifetime of a link in seconds, the bytes of a transfer."""

    id: uuid.UUID
    at: dt.datetime
    action: AuditAction
    subject_kind: Literal["file", "run", "model", "key", "session", "account"]
    actor: Literal["user", "service", "key", "system"]
    detail: dict[str, Any]
    subject_id: uuid.UUID | UnsetType = UNSET
    key_id: uuid.UUID | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


class AccountLimits(Struct, kw_only=True):
    max_stored_bytes: int
    max_queued_tasks: int
    max_upload_bytes: int


class Account(Struct, kw_only=True):
    """What an account holds; `models` counts those in the trash too, as `stored_bytes` does."""

    user_id: uuid.UUID
    email: str | None
    files: int
    runs: int
    models: int
    stored_bytes: int
    limits: AccountLimits


class Deletion(Struct, kw_only=True):
    """What `DELETE /account` begins."""

    status: Literal["deleting"]
    detail: str
