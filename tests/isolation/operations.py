"""The operations of the API's own OpenAPI schema, and requests for them that name given objects."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
from msgspec import Struct

METHODS = ("get", "head", "post", "put", "patch", "delete")

WORDS = {
    "model_name": ["best_model", "random_forest", "Random forest"],
    "plot": ["confusion_matrix.svg"],
}
"""Path parameters that are no ids: what a run has under these names."""

QUERIES = {
    "confirm": "the victim's id",
    "cursor": "cursors that begin at the victim's objects",
    "format": "another way to the same object",
    "q": "words of the victim's",
    "tag": "a tag of the victim's",
    "wait": "a call that waits for the object to change",
}
"""Parameters of the query that are tried; their values are the caller's to give."""

OF_NOBODY = {"action", "deleted", "limit", "sort", "status", "task_type"}
"""Parameters of the query that name no object and lead to none."""


class NoObject(Exception):
    """An id whose kind these tests have no object of: add one to `objects` of test_routes_of_another."""


class Operation(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    path_names: list[str]
    query_names: list[str]
    header_names: list[str]
    body: Any
    body_ids: list[str]
    """Names of the body's fields that are ids."""
    public: bool
    declared: bool
    """False for the HEAD of a GET that has none."""
    takes_a_file: bool

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def names_objects(self) -> bool:
        return bool(self.path_names or self.body_ids)


class Request(Struct, frozen=True, kw_only=True):
    method: str
    url: str
    params: dict[str, str]
    headers: dict[str, str]
    json: Any = None
    upload: bool = False

    async def send(self, client: httpx.AsyncClient, **headers: str) -> httpx.Response:
        more: dict[str, Any] = {}
        if self.upload:
            more["files"] = {"file": ("mine.csv", b"a,b,species\n1,2,x\n3,4,y\n")}
        elif self.json is not None:
            more["json"] = self.json
        return await client.request(
            self.method, self.url, params=self.params, headers=self.headers | headers, **more
        )


def operations(schema: Mapping[str, Any]) -> list[Operation]:
    """Every one of them. A GET without a HEAD of its own is tried with HEAD all the same."""
    found = []
    for path, item in schema["paths"].items():
        for method in METHODS:
            if method in item:
                found.append(_operation(schema, method, path, item[method]))
        if "get" in item and "head" not in item:
            found.append(_operation(schema, "head", path, item["get"], declared=False))
    return found


def _operation(
    schema: Mapping[str, Any], method: str, path: str, told: Mapping[str, Any], *, declared: bool = True
) -> Operation:
    parameters = [_resolved(schema, one) for one in told.get("parameters", [])]

    def names(where: str) -> list[str]:
        return [one["name"] for one in parameters if one["in"] == where]

    content = _resolved(schema, told.get("requestBody", {})).get("content", {})
    body, body_ids, takes_a_file = None, [], "multipart/form-data" in content
    if "application/json" in content:
        examples = content["application/json"]["examples"]
        body = next(_resolved(schema, one)["value"] for one in examples.values())
        body_ids = _ids(schema, content["application/json"]["schema"])
    assert names("path") == re.findall(r"\{(\w+)\}", path), path
    for name in names("query"):
        assert name in QUERIES or name in OF_NOBODY, f"{path}?{name}: may it name an object?"
    return Operation(
        method=method,
        path=path,
        path_names=names("path"),
        query_names=[name for name in names("query") if name in QUERIES],
        header_names=names("header"),
        body=body,
        body_ids=body_ids,
        public=told.get("security", schema.get("security")) in ([], [{}]),
        declared=declared,
        takes_a_file=takes_a_file,
    )


def _resolved(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = schema
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name.replace("~1", "/").replace("~0", "~")]
    return _resolved(schema, found)


def _ids(schema: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Fields that are UUIDs, or are called like an id. One below the first level is not expected."""
    fields = _resolved(schema, part).get("properties", {})
    found = []
    for name, field in fields.items():
        shapes = [_resolved(schema, one) for one in (field, *field.get("anyOf", []), *field.get("oneOf", []))]
        if name.endswith(("_id", "_ids")) or any(shape.get("format") == "uuid" for shape in shapes):
            found.append(name)
        assert not any("properties" in shape for shape in shapes), f"look into {name} for ids too"
    return found


def requests(
    operation: Operation, objects: Mapping[str, Sequence[str]], queries: Mapping[str, Sequence[str]]
) -> Iterator[Request]:
    """One for every combination of objects in its path and its body, and one for every value of a query's
    parameters. Raises NoObject."""
    names = [*operation.path_names, *operation.body_ids]
    known = {**objects, **WORDS}
    for name in names:
        if name not in known:
            raise NoObject(f"{name} of {operation}")
    asked = [{}] + [{name: value} for name in operation.query_names for value in queries.get(name, ())]
    for values, params in itertools.product(itertools.product(*(known[name] for name in names)), asked):
        given = dict(zip(names, values, strict=True))
        body = operation.body
        if operation.body_ids:
            body = {**body, **{name: given[name] for name in operation.body_ids}}
        yield Request(
            method=operation.method,
            url=operation.path.format(**given),
            params=params,
            headers={"Idempotency-Key": "victims-own"} if "Idempotency-Key" in operation.header_names else {},
            json=body,
            upload=operation.takes_a_file,
        )
