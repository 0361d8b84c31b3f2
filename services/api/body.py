"""JSON bodies: read strictly, and every fault of one named at once.

msgspec stops at the first fault. So a body that does not fit is looked at again, field by field,
and list by list, and the answer names all of them by JSON pointer (RFC 6901).
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from services.api.auth import Identity
from services.api.wording import wrong
from shared.errors import InvalidRequest, MalformedRequest, TooLarge, UnsupportedMedia

Faults = list[tuple[str, str]]

MOST_FAULTS = 100
"""Named in one answer."""

ALSO_FAULTY = "also_faulty"
"""Of a handler's `opt`: `async (request, fields without fault) -> Faults`, what else is wrong with a body
that has faults of form already, so that nobody is told in two rounds."""

_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_AT = re.compile(r" - at `(?:key in )?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class JsonRequest(Request[Identity, Any, State]):
    """A request whose JSON body arrives in its handler as a checked struct."""

    async def body(self) -> bytes:
        """Raises TooLarge."""
        try:
            return await super().body()
        except RequestEntityTooLarge as error:
            most = self.app.state.context.settings.http.max_json_bytes
            raise TooLarge(f"The body is over the size limit of {most:,} bytes") from error

    async def json(self) -> Any:
        """The body as the type of the handler's `data`. Raises UnsupportedMedia, TooLarge, MalformedRequest,
        InvalidRequest."""
        given = self.headers.get("content-type")
        if given and not _JSON.fullmatch(given):
            raise UnsupportedMedia(f"The body must be application/json, not {given[:100]}")
        parsed = parse(await self.body())
        wanted = self.route_handler.parsed_fn_signature.parameters["data"].annotation
        try:
            return checked(parsed, wanted)
        except InvalidRequest as error:
            also = self.route_handler.opt.get(ALSO_FAULTY)
            if also is None or not isinstance(parsed, dict):
                raise
            more = await also(self, sound_fields(parsed, wanted, error.errors))
            found = dict(reversed([*error.errors, *more]))
        raise InvalidRequest(_some(list(reversed(found.items()))))


def parse(body: bytes) -> Any:
    """JSON without duplicate keys, NaN, infinities or text no database takes. Raises MalformedRequest."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except MalformedRequest:
        raise
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedRequest(
            f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except (ValueError, RecursionError):
        raise MalformedRequest(
            "The body is not JSON that can be read: too deep, or too long a number"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedRequest(f"The key {twice[:100]!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise MalformedRequest(f"The body is not JSON: {name} is not a JSON number")


def checked(parsed: Any, wanted: Any) -> Any:
    """`parsed` as the struct `wanted`. Raises InvalidRequest naming every fault."""
    unstorable = list(_unstorable(parsed, ""))
    if not unstorable:
        try:
            return msgspec.convert(parsed, wanted)
        except msgspec.ValidationError as error:
            found = faults(parsed, wanted) or [_located(error, "")]
            raise InvalidRequest(_some(found)) from None
    named = {pointer for pointer, _ in unstorable}
    raise InvalidRequest(_some(unstorable + [f for f in faults(parsed, wanted) if f[0] not in named]))


def sound_fields(parsed: dict[str, Any], wanted: Any, found: Faults) -> dict[str, Any]:
    """The fields of `parsed` that `wanted` has and that no fault is about."""
    known = {field.encode_name for field in msgspec.structs.fields(wanted)}
    faulty = {pointer.split("/")[1] for pointer, _ in found if pointer}
    return {name: value for name, value in parsed.items() if name in known - faulty}


def _some(found: Faults) -> Faults:
    """An answer that a person can read, however many faults a body has."""
    if len(found) <= MOST_FAULTS:
        return found
    return [*found[:MOST_FAULTS], ("", f"and {len(found) - MOST_FAULTS:,} more faults")]


def faults(parsed: Any, wanted: Any) -> Faults:
    """Every fault of `parsed` as the struct type `wanted`, in the order of its fields."""
    if not isinstance(parsed, dict):
        return [("", "must be a JSON object")]
    found: Faults = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    for name, field in fields.items():
        if name in parsed:
            found += _field_faults(parsed[name], field.type, f"/{name}")
        elif field.required:
            found.append((f"/{name}", "is required"))
    found += [
        (f"/{_escape(name)}", "is not a field of this request") for name in parsed if name not in fields
    ]
    return found


def _field_faults(value: Any, wanted: Any, pointer: str) -> Faults:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        item = _item_type(wanted)
        if item is not None and isinstance(value, list):
            of_items = [f for i, v in enumerate(value) for f in _field_faults(v, item, f"{pointer}/{i}")]
            if of_items:
                return of_items
        said = wrong(wanted, value)
        return [_located(error, pointer) if said is None else (pointer, said)]
    return []


def _item_type(wanted: Any) -> Any | None:
    origin = get_origin(wanted)
    if origin is Annotated:
        return _item_type(get_args(wanted)[0])
    if origin in (Union, types.UnionType):
        return next((item for a in get_args(wanted) if (item := _item_type(a)) is not None), None)
    return get_args(wanted)[0] if origin is list else None


def _located(error: msgspec.ValidationError, pointer: str) -> tuple[str, str]:
    text = str(error)
    if (where := _AT.search(text)) is not None:
        text = text[: where.start()]
        pointer += "".join(f"/{_escape(name or index)}" for name, index in _STEP.findall(where.group(1)))
    return pointer, text[:1].lower() + text[1:].replace("`", "'")


def _unstorable(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Text that Postgres does not take: NUL, and halves of a surrogate pair."""
    if isinstance(value, str):
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            yield pointer, "contains a character that is not text (NUL or half a surrogate pair)"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _unstorable(name, pointer)
            yield from _unstorable(item, f"{pointer}/{_escape(name)}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _unstorable(item, f"{pointer}/{i}")


def _escape(name: str) -> str:
    clean = name.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:200]
    return clean.replace("~", "~0").replace("/", "~1")
