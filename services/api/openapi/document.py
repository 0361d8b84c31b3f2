"""The published document, made from what Litestar generates by rules that hold for every operation.

Litestar describes routes and parameters. Bodies are described by msgspec, which also checks them, so that
what the document says of a body is what is done. Everything here is plain JSON in and out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from litestar.handlers import HTTPRouteHandler

from services.api import answers
from services.api.auth import PUBLIC
from services.api.openapi.examples import EXAMPLES
from services.api.openapi.headers import ALWAYS, HEADERS, OF_PROBLEMS, PARAMETERS
from services.api.openapi.links import link
from services.api.problems import PROBLEM_JSON
from services.api.scopes import needed

SCHEMAS = "#/components/schemas/"
METHODS = ("get", "head", "post", "put", "patch", "delete")
JSON = answers.JSON
BYTES = {"type": "string", "format": "binary"}

_GENERIC = re.compile(r"(\w+)\[(\w+)\]")


def publish(raw: dict[str, Any], handlers: dict[str, HTTPRouteHandler]) -> dict[str, Any]:
    """`raw`: what Litestar made of the routes; `handlers`: by operation id."""
    document = _rename(raw, {name: _pretty(s) for name, s in raw["components"]["schemas"].items()})
    document["components"]["schemas"] |= _bodies(handlers.values())
    document.pop("security", None)
    for _path, method, operation in operations(document):
        handler = handlers[operation["operationId"]]
        _clean(operation)
        if method == "head":
            _only_headers(operation)
        _security(operation, method, handler)
        _parameters(operation, handler)
        _answers(operation, method, handler)
        _examples(operation)
    link(document)
    always_there = {name: header | {"required": True} for name, header in HEADERS.items()}
    document["components"]["headers"] = always_there
    document["components"]["parameters"] = PARAMETERS
    _prune(document)
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation)"""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


# --- schemas ------------------------------------------------------------------------------------


def _pretty(schema: dict[str, Any]) -> str:
    """`Page[File]` → `FilePage`: what a class of a client can be called."""
    title: str = schema["title"]
    match = _GENERIC.fullmatch(title)
    return f"{match.group(2)}{match.group(1)}" if match else title


def _bodies(handlers: Any) -> dict[str, Any]:
    """msgspec's own description of every body that the handlers take or give."""
    kinds = list(dict.fromkeys(kind for handler in handlers for kind in _kinds_of(handler)))
    _, found = msgspec.json.schema_components(kinds, ref_template=SCHEMAS + "{name}")
    schemas: dict[str, Any] = _rename(found, {name: _pretty(schema) for name, schema in found.items()})
    for name, schema in schemas.items():
        schema["title"] = name
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].split())
        if "enum" in schema:
            schema["type"] = "string"
        if schema.get("additionalProperties") is False:
            _text_only(schema["properties"])
        for field, of_field in schema.get("properties", {}).items():
            if (field == "at" or field.endswith("_at")) and of_field.get("type") == "string":
                of_field["format"] = "date-time"
            if "enum" in of_field:
                of_field["type"] = "string"
    return schemas


def _text_only(node: Any) -> None:
    """What a request holds is text that a database takes: `services/api/body.py` refuses NUL."""
    if isinstance(node, list):
        for item in node:
            _text_only(item)
    elif isinstance(node, dict):
        if node.get("type") == "string" and "format" not in node:
            node["not"] = {"pattern": "\\u0000"}
        for value in list(node.values()):
            _text_only(value)


def _kinds_of(handler: HTTPRouteHandler) -> Iterator[Any]:
    signature = handler.parsed_fn_signature
    yield from _structs(signature.return_type.annotation)
    for field in signature.return_type.inner_types:
        yield from _structs(field.annotation)
    if "data" in signature.parameters:
        yield from _structs(signature.parameters["data"].annotation)
    for spec in (handler.responses or {}).values():
        yield from _structs(spec.data_container)


def _structs(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if isinstance(origin or annotation, type) and issubclass(origin or annotation, msgspec.Struct):
        yield annotation
    elif origin is Annotated:
        yield from _structs(get_args(annotation)[0])
    elif origin is Union or type(annotation).__name__ == "UnionType":
        for member in get_args(annotation):
            yield from _structs(member)


def _rename(node: Any, names: dict[str, str]) -> Any:
    """`node` with its component schemas, and the references to them, under other names."""
    if isinstance(node, list):
        return [_rename(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    made = {names.get(key, key): _rename(value, names) for key, value in node.items()}
    reference = made.get("$ref")
    if isinstance(reference, str) and reference.startswith(SCHEMAS):
        name = reference.removeprefix(SCHEMAS)
        made["$ref"] = SCHEMAS + names.get(name, name)
    return made


def _prune(document: dict[str, Any]) -> None:
    """Leave only the components that an operation leads to."""
    kept: set[str] = set()
    waiting = list(_references(document["paths"]))
    while waiting:
        reference = waiting.pop()
        if reference not in kept:
            kept.add(reference)
            _, _, section, name = reference.split("/", 3)
            waiting += _references(document["components"][section][name])
    for section in ("schemas", "headers", "parameters"):
        document["components"][section] = {
            name: value
            for name, value in sorted(document["components"][section].items())
            if f"#/components/{section}/{name}" in kept
        }


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


# --- operations ---------------------------------------------------------------------------------


def _clean(operation: dict[str, Any]) -> None:
    """What Litestar writes and nobody needs: defaults spelt out, descriptions twice or in lines, its own
    400 for parameters that do not fit (ours is a 422 problem)."""
    operation["description"] = operation.get("description", "").replace("\n", " ")
    for parameter in operation.get("parameters", ()):
        for default in ("deprecated", "allowEmptyValue", "allowReserved"):
            parameter.pop(default, None)
        schema = parameter["schema"]
        schema.pop("description", None)
        # nothing is null in a query or a header: it is there or not
        named = [kind for kind in schema.pop("oneOf", ()) if kind != {"type": "null"}]
        for kind in named:
            schema |= kind
        parameter["schema"] = {
            key: int(value) if key in ("minimum", "maximum") and value == int(value) else value
            for key, value in schema.items()
        }
    responses = operation["responses"]
    if PROBLEM_JSON not in responses.get("400", {}).get("content", {PROBLEM_JSON: {}}):
        del responses["400"]
    operation["responses"] = dict(sorted(responses.items()))


def _only_headers(operation: dict[str, Any]) -> None:
    """A HEAD is answered with what a GET of the whole file would say, whatever it asks for."""
    operation["summary"] += ": its headers"
    operation["description"] = f"What GET would answer, less the body. {operation['description']}"
    for status in ("206", "304", "307", "416"):
        operation["responses"].pop(status, None)


def _security(operation: dict[str, Any], method: str, handler: HTTPRouteHandler) -> None:
    if handler.opt.get(PUBLIC):
        operation["security"] = []
        return
    if "security" in operation:  # the handler's own
        return
    scope = needed(method.upper(), handler.opt)
    operation["security"] = [{"bearerAuth": []}, {"apiKeyAuth": [str(scope)]}]
    if method == "get":
        operation["security"].append({"sessionCookie": []})


def _parameters(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    """Headers of a request that handlers read by rule: who is acted for, conditions, ranges."""
    given = operation.setdefault("parameters", [])
    known = {parameter.get("name") for parameter in given}
    wanted = [] if handler.opt.get(PUBLIC) else ["ActingAs"]
    if "304" in operation["responses"]:
        wanted.append("IfNoneMatch")
    if "206" in operation["responses"]:
        wanted += ["Range", "IfRange"]
    given += [
        {"$ref": f"#/components/parameters/{name}"}
        for name in wanted
        if PARAMETERS[name]["name"] not in known
    ]


def _answers(operation: dict[str, Any], method: str, handler: HTTPRouteHandler) -> None:
    declared = {str(status): spec for status, spec in (handler.responses or {}).items()}
    for status, response in operation["responses"].items():
        spec = declared.get(status)
        content = response.get("content", {})
        names = (*ALWAYS, *(spec.headers if isinstance(spec, answers.Answer) else ()))
        if PROBLEM_JSON in content:
            names += (answers.CACHE_CONTROL, *OF_PROBLEMS.get(status, ()))
        if isinstance(spec, answers.Answer):
            content |= {media_type: {"schema": BYTES} for media_type in spec.files}
        if method == "head" or status in ("204", "304") or not content:
            response.pop("content", None)
        else:
            response["content"] = content
        response["headers"] = response.get("headers", {}) | {
            name.removesuffix("?"): _header(name) for name in names
        }


def _header(name: str) -> dict[str, Any]:
    if name.endswith("?"):
        return HEADERS[name.removesuffix("?")]
    return {"$ref": f"#/components/headers/{name}"}


# --- examples -----------------------------------------------------------------------------------


def _examples(operation: dict[str, Any]) -> None:
    for body in (operation.get("requestBody"), *operation["responses"].values()):
        for media_type, media in (body or {}).get("content", {}).items():
            for example in media.get("examples", {}).values():
                example.pop("id", None)
            if media_type == JSON:
                _example(media)


def _example(media: dict[str, Any]) -> None:
    schema = media["schema"]
    if "allOf" in schema:  # how Litestar adds a body's examples
        given = schema.get("examples", [])
        media["schema"] = schema = schema["allOf"][0]
        media["examples"] = {f"example{i or ''}": {"value": value} for i, value in enumerate(given)}
    name = schema.get("$ref", "").removeprefix(SCHEMAS)
    if name in EXAMPLES:
        media["examples"] = {
            key: {"summary": summary, "value": value} for key, (summary, value) in EXAMPLES[name].items()
        }
