"""Domain errors. They know no HTTP: `services/api/problems.py` maps each class to a status.

The slug is stable and becomes the problem's `type`; the docstring is the default message.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TrainyardError(Exception):
    """Something went wrong."""

    slug: ClassVar[str] = "internal"

    def __init__(self, detail: str | None = None, **context: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.context = context
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """What every problem of this type is called: the docstring up to the first semicolon."""
        return (cls.__doc__ or "").strip().split("\n")[0].split(";")[0]


class NotFound(TrainyardError):
    """Not found"""

    slug = "not-found"


class TaskNotFound(NotFound):
    """Task not found"""

    slug = "task-not-found"


class ModelNotFound(NotFound):
    """Model not found"""

    slug = "model-not-found"


class FileNotFound(NotFound):
    """File not found"""

    slug = "file-not-found"


class PreviewNotFound(NotFound):
    """No preview of this table was kept; upload it again to see its first rows"""

    slug = "preview-not-found"


class BundleNotFound(NotFound):
    """Bundle not found"""

    slug = "bundle-not-found"


class ApiKeyNotFound(NotFound):
    """API key not found"""

    slug = "api-key-not-found"


class ExportNotFound(NotFound):
    """No export of this account is there; ask for one"""

    slug = "export-not-found"


class TrainingNotCompleted(TrainyardError):
    """Training not completed"""

    slug = "training-not-completed"


class MalformedRequest(TrainyardError):
    """The request could not be read"""

    slug = "malformed-request"


class InvalidRequest(TrainyardError):
    """The request has faults; `errors` names all of them."""

    slug = "invalid-request"

    def __init__(self, errors: list[tuple[str, str]], detail: str | None = None) -> None:
        """`errors`: (JSON pointer, what is wrong) for every fault, not only the first."""
        self.errors = errors
        super().__init__(detail or "; ".join(f"{p or '/'}: {d}" for p, d in errors))


class TableUnreadable(TrainyardError):
    """The table cannot be read"""

    slug = "table-unreadable"


class CannotTrain(TrainyardError):
    """The table cannot be trained on as asked"""

    slug = "cannot-train"


class Unauthenticated(TrainyardError):
    """A valid token is required"""

    slug = "unauthenticated"


class Forbidden(TrainyardError):
    """Not allowed"""

    slug = "forbidden"


class MissingScope(Forbidden):
    """The API key does not have the scope that this call needs"""

    slug = "missing-scope"


class Conflict(TrainyardError):
    """The object is in a state that does not allow this"""

    slug = "conflict"


class AccountBeingDeleted(Conflict):
    """This account is being deleted; when that is done, the same person may begin a new one"""

    slug = "account-being-deleted"


class KeyInUse(Conflict):
    """A request with this Idempotency-Key is still being worked on; try again shortly"""

    slug = "idempotency-key-in-use"


class KeyReused(TrainyardError):
    """This Idempotency-Key was used for another request"""

    slug = "idempotency-key-reused"


class TooManyRequests(TrainyardError):
    """Too many requests; try again later"""

    slug = "too-many-requests"


class QuotaExceeded(TrainyardError):
    """A limit of this account is reached"""

    slug = "quota-exceeded"


class TooLarge(TrainyardError):
    """The upload is over the size limit"""

    slug = "too-large"


class UnsupportedMedia(TrainyardError):
    """This media type is not taken"""

    slug = "unsupported-media-type"


class DatabaseUnavailable(TrainyardError):
    """The database is not answering; try again shortly"""

    slug = "database-unavailable"


class StorageUnavailable(TrainyardError):
    """The object store is not answering; try again shortly"""

    slug = "storage-unavailable"


class BundleFailed(TrainyardError):
    """The ZIP could not be built; asking for it again tries again"""

    slug = "bundle-failed"


class ExportFailed(TrainyardError):
    """The account could not be exported; asking for it again tries again"""

    slug = "export-failed"


class ConversionNotFound(NotFound):
    """This model was not asked for in this format"""

    slug = "conversion-not-found"


class NotConvertible(TrainyardError):
    """The model cannot be had in this format"""

    slug = "not-convertible"


class ConversionFailed(TrainyardError):
    """The model could not be converted; asking for it again tries again"""

    slug = "conversion-failed"


class ArtifactRefused(TrainyardError):
    """The model is not the one that was trained: its signature does not fit"""

    slug = "artifact-refused"


class SignInUnavailable(TrainyardError):
    """The keys that tokens are checked with cannot be fetched; try again shortly"""

    slug = "sign-in-unavailable"


class ClusterUnavailable(TrainyardError):
    """The cluster that fits run on is not answering; they wait for it"""

    slug = "cluster-unavailable"


class ClusterFailed(TrainyardError):
    """The cluster did not finish its part of a fit; it is tried again"""

    slug = "cluster-failed"


class NoRoom(TrainyardError):
    """The disk of the machine that does this is full; it is tried again, here or elsewhere"""

    slug = "no-room"


class StorageCorrupt(TrainyardError):
    """The store does not hold what was put there"""

    slug = "storage-corrupt"


class LeaseLost(TrainyardError):
    """Another worker has taken this work over"""

    slug = "lease-lost"


class ConfigurationError(TrainyardError):
    """The configuration is wrong"""

    slug = "configuration"
