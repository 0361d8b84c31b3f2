"""What is warned of, and what went wrong."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType


class Notice(Struct, kw_only=True):
    """`{code, column?, message, evidence?, action}`: `action` says what was done about it."""

    code: str
    message: str
    action: str
    column: str | UnsetType = UNSET
    evidence: str | UnsetType = UNSET


class Fault(Struct):
    """One fault of a body: a JSON pointer (RFC 6901) and what is wrong there."""

    pointer: str
    detail: str


class Problem(Struct, kw_only=True):
    """application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | UnsetType = UNSET
    errors: list[Fault] | UnsetType = UNSET
