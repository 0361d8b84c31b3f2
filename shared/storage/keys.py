"""Names: object keys made of ids, file names that are safe to offer, and the header that offers them.

A key is always built here from ids the database knows, never from what a client typed, so no text of
a user's can reach another user's prefix. Pure functions, no I/O.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
import uuid
from urllib.parse import quote, unquote

Id = uuid.UUID | str

_SLUG = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")
_REPORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WINDOWS_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_NOT_IN_FILENAMES = re.compile(r'[/\\:*?"<>|]')

CONTENT_TYPES = frozenset(
    {
        "application/json",
        "application/octet-stream",
        "application/zip",
        "image/svg+xml",  # a program where it is opened by itself: handed over as a file, in a sandbox
        "text/csv",
        "text/csv; charset=utf-8",
        "text/markdown; charset=utf-8",
        "text/plain; charset=utf-8",
        "text/x-python; charset=utf-8",
    }
)
"""All that an object may be said to be: no page, no script, nothing that a user could choose."""

_ATTR_CHARS = "!#$&+-.^_`|~"
"""What RFC 8187 leaves unescaped in an extended value besides letters and digits."""

_FILENAME_BYTES = 200
_SAFE_NAME_CHARS = 80


def dataset_key(user_id: Id, file_id: Id) -> str:
    """`{user_id}/{file_id}/table` in the datasets bucket."""
    return f"{_id(user_id)}/{_id(file_id)}/table"


def model_key(user_id: Id, task_id: Id, slug: str, attempt: int) -> str:
    """`{user_id}/{task_id}/{slug}/{attempt}/model.pkl` in the artifacts bucket."""
    return f"{_candidate(user_id, task_id, slug, attempt)}/model.pkl"


def skops_key(user_id: Id, task_id: Id, slug: str, attempt: int, conversion: int) -> str:
    """`{user_id}/{task_id}/{slug}/{attempt}/{conversion}/model.skops` in the artifacts bucket.

    `conversion` is the attempt of the conversion: two that overlap never write the same object.
    """
    return f"{_candidate(user_id, task_id, slug, attempt)}/{_attempt(conversion)}/model.skops"


def onnx_key(user_id: Id, task_id: Id, slug: str, attempt: int, conversion: int) -> str:
    """`{user_id}/{task_id}/{slug}/{attempt}/{conversion}/model.onnx` in the artifacts bucket."""
    return f"{_candidate(user_id, task_id, slug, attempt)}/{_attempt(conversion)}/model.onnx"


def predictions_key(user_id: Id, task_id: Id, slug: str, attempt: int) -> str:
    """`{user_id}/{task_id}/{slug}/{attempt}/predictions.npz` in the artifacts bucket."""
    return f"{_candidate(user_id, task_id, slug, attempt)}/predictions.npz"


def spread_prefix(user_id: Id, task_id: Id, slug: str) -> str:
    """What a cluster reads to fit one candidate, in the artifacts bucket, starts with this."""
    return f"{task_prefix(user_id, task_id)}rows/{_slug(slug)}/"


def spread_key(user_id: Id, task_id: Id, slug: str, attempt: int, number: int) -> str:
    """`{user_id}/{task_id}/rows/{slug}/{attempt}/{number}.parquet` in the artifacts bucket."""
    return f"{spread_prefix(user_id, task_id, slug)}{_attempt(attempt)}/{_attempt(number)}.parquet"


def plot_key(user_id: Id, task_id: Id, slug: str, attempt: int, kind: str) -> str:
    """`{user_id}/{task_id}/{slug}/{attempt}/{kind}.svg` in the artifacts bucket."""
    return f"{_candidate(user_id, task_id, slug, attempt)}/{_slug(kind)}.svg"


def report_key(user_id: Id, task_id: Id, attempt: int, name: str) -> str:
    """`{user_id}/{task_id}/report/{attempt}/{name}` in the artifacts bucket."""
    if not _REPORT_NAME.fullmatch(name):
        raise ValueError(f"not a report's file name: {name!r}")
    return f"{_id(user_id)}/{_id(task_id)}/report/{_attempt(attempt)}/{name}"


def bundle_key(user_id: Id, task_id: Id, attempt: int) -> str:
    """`{user_id}/{task_id}/{attempt}.zip` in the bundles bucket."""
    return f"{_id(user_id)}/{_id(task_id)}/{_attempt(attempt)}.zip"


def export_key(user_id: Id, attempt: int) -> str:
    """`{user_id}/export/{attempt}.zip` in the bundles bucket."""
    return f"{export_prefix(user_id)}{_attempt(attempt)}.zip"


def export_prefix(user_id: Id) -> str:
    """Every export of an account, in the bundles bucket, starts with this."""
    return f"{user_prefix(user_id)}export/"


def user_prefix(user_id: Id) -> str:
    """Everything of one user, in each of the four buckets, starts with this."""
    return f"{_id(user_id)}/"


def task_prefix(user_id: Id, task_id: Id) -> str:
    """Everything of one task, in the artifacts and in the bundles bucket, starts with this."""
    return f"{_id(user_id)}/{_id(task_id)}/"


def saved_model_path(user_id: Id, model_name: str, at: dt.datetime) -> str:
    """`{user_id}/{safe_model_name}_{timestamp}.pkl` in the models bucket; UTC, with microseconds.

    Raises ValueError for a time without a zone: two machines would disagree on what it means.
    """
    if at.tzinfo is None:
        raise ValueError("the time of a saved model needs a zone")
    stamp = at.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return f"{_id(user_id)}/{safe_name(model_name)}_{stamp}.pkl"


def belongs_to(user_id: Id, key: str) -> bool:
    """Whether a key that was read back from a row lies in this user's prefix."""
    return key.startswith(f"{_id(user_id)}/") and not any(part in ("", ".", "..") for part in key.split("/"))


def safe_name(text: str) -> str:
    """The user's words as a part of a file name on any system: ASCII, 1..80 characters.

    Accents are dropped, everything else outside letters, digits, `.` and `-` becomes `_`. What
    has no ASCII form at all is "model"; a name Windows reserves gets a leading `model_`.
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", bare)
    name = re.sub(r"\.{2,}", ".", name).strip("._-")[:_SAFE_NAME_CHARS].rstrip("._-")
    if not name:
        return "model"
    return f"model_{name}"[:_SAFE_NAME_CHARS].rstrip("._-") if _WINDOWS_RESERVED.fullmatch(name) else name


def safe_filename(filename: str) -> str:
    """A file name as its owner wrote it, less what could mislead or hurt whoever saves it.

    Control, formatting (bidirectional overrides, zero-width), private and unassigned characters go;
    path separators and what Windows forbids become `_`; at most 200 bytes of UTF-8, the suffix
    kept; never empty.
    """
    visible = "".join(
        " " if c.isspace() else c
        for c in unicodedata.normalize("NFC", filename)
        if c.isspace() or not unicodedata.category(c).startswith("C")
    )
    name = _NOT_IN_FILENAMES.sub("_", " ".join(visible.split())).strip(" .")
    name = _cut(name, _FILENAME_BYTES)
    if not name:
        return "download"
    return f"_{name}" if _WINDOWS_RESERVED.fullmatch(name) else name


def content_disposition(filename: str) -> str:
    """An `attachment` header value (RFC 6266): an ASCII name, and the true one where they differ.

    Always pure ASCII, with no CR, LF, quote or backslash inside the quoted string.
    """
    name = safe_filename(filename)
    stem, dot, suffix = name.rpartition(".") if "." in name else (name, "", "")
    plain = f"{_ascii(stem) or 'download'}{dot}{_ascii(suffix)}".rstrip(" .")
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def offered_name(disposition: str | None) -> str | None:
    """The file name that a header of `content_disposition` offers; None where it offers none."""
    if extended := re.search(r"filename\*=UTF-8''([^;\s]+)", disposition or ""):
        return unquote(extended[1])
    plain = re.search(r'filename="([^"]*)"', disposition or "")
    return plain[1] if plain else None


def known_type(content_type: str) -> str:
    """It, where it is one of CONTENT_TYPES. Raises ValueError."""
    if content_type not in CONTENT_TYPES:
        raise ValueError(f"objects are not of the type {content_type!r}")
    return content_type


def _ascii(text: str) -> str:
    """The ASCII form of a part of a name; RFC 6266, appendix D: browsers may decode a percent sign."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _NOT_IN_FILENAMES.sub("_", plain.replace("%", "_")).strip(" .")


def _cut(name: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8: the stem gives way, a suffix of up to 20 bytes stays."""
    if len(name.encode()) <= limit:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > 20:
        stem, dot, suffix = name, "", ""
    room = limit - len(f"{dot}{suffix}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + dot + suffix


def _candidate(user_id: Id, task_id: Id, slug: str, attempt: int) -> str:
    return f"{_id(user_id)}/{_id(task_id)}/{_slug(slug)}/{_attempt(attempt)}"


def _id(value: Id) -> str:
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise ValueError(f"not a slug: {text!r}")
    return text


def _attempt(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"not an attempt: {number!r}")
    return number
