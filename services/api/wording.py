"""What a field of a body takes, in words: "must be a number from 1 to 86,400, not 0"."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from shared.contracts.registry import VISIBLE

LONGEST_SHOWN = 40

_PART = r"[^@\s\x00-\x1f\x7f-\x9f\ufeff]+"
EMAIL = f"^{_PART}@{_PART}$"

PATTERNS = {
    VISIBLE: "text that is not blank",
    EMAIL: "an e-mail address",
    "^[0-9]+$": "digits",
}
"""The patterns of the contract's types; a test fails where one has no words."""


def wrong(wanted: Any, value: Any) -> str | None:
    """What is to be said of a `value` that is no `wanted`; None where there are no words for the type."""
    takes = list(_takes(inspect.type_info(wanted), value))
    if not takes or None in takes:
        return None
    return f"must be {' or '.join(filter(None, takes))}, not {shown(value)}"


def shown(value: Any) -> str:
    """A value of JSON, short enough for a message; what it looks like where it is a list or an object."""
    if isinstance(value, list):
        return f"a list of {len(value):,}" if value else "an empty list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{len(value):,} characters"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**LONGEST_SHOWN:
        return "a number of so many digits"
    return json.dumps(value)


def _takes(kind: inspect.Type, value: Any) -> Iterator[str | None]:
    """Each kind of value that is taken; None for a type without words."""
    if isinstance(kind, inspect.Metadata):
        yield from _takes(kind.type, value)
    elif isinstance(kind, inspect.UnionType):
        # null last: what is meant by a field comes before its absence
        for of in sorted(kind.types, key=lambda of: isinstance(of, inspect.NoneType)):
            yield from _takes(of, value)
    elif type(kind).__name__ != "UnsetType":
        yield _words(kind, value)


def _words(kind: inspect.Type, value: Any) -> str | None:
    match kind:
        case inspect.NoneType():
            return "null"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            number = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            return number + _range(kind)
        case inspect.StrType():
            return _text(kind, value)
        case inspect.UUIDType():
            return "an id (a UUID)"
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(map(json.dumps, values))
        case inspect.EnumType(cls=cls) if issubclass(cls, enum.StrEnum):
            return "one of " + ", ".join(json.dumps(str(member)) for member in cls)
        case inspect.ListType():
            return "a list" + _length(kind.min_length, kind.max_length, "entries")
    return None


def _text(kind: inspect.StrType, value: Any) -> str | None:
    fits = isinstance(value, str) and _fits(len(value), kind.min_length, kind.max_length)
    if kind.pattern is not None and not (isinstance(value, str) and re.search(kind.pattern, value)):
        plain = PATTERNS.get(kind.pattern)
        return plain if fits or plain is None else plain + _length(None, kind.max_length, "characters")
    return "text" + _length(kind.min_length, kind.max_length, "characters")


def _fits(length: int, least: int | None, most: int | None) -> bool:
    return (least or 0) <= length and (most is None or length <= most)


def _length(least: int | None, most: int | None, of: str) -> str:
    if least and most is not None:
        return f" of {least:,} to {most:,} {of}"
    if most is not None:
        return f" of at most {most:,} {of}"
    return f" of at least {least:,} {of}" if least else ""


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:,} to {kind.le:,}"
    bounds = [
        (" of at least", kind.ge),
        (" above", kind.gt),
        (" of at most", kind.le),
        (" below", kind.lt),
    ]
    return " and".join(f"{word} {limit:,}" for word, limit in bounds if limit is not None)
