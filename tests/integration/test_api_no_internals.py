"""Whatever breaks inside, wherever: no answer shows a traceback, a statement, an address or a secret."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import asyncpg
import httpx
import pytest
from arq.connections import ArqRedis
from botocore.exceptions import ClientError, EndpointConnectionError
from redis.exceptions import RedisError
from redis.exceptions import ResponseError as RedisResponseError
from structlog.testing import capture_logs

from shared.db import pool
from shared.db.pool import Database
from shared.storage import Store
from tests.integration import api_runs
from tests.integration.api_client import Api

CANARY = (
    'syntax error at or near "FROM": SELECT canary FROM trainyard.tasks'
    ' -- postgresql://trainyard_api_login:canary@10.0.0.9:5432/x, File "/app/services/api/inside.py", line 3'
)
INTERNALS = re.compile(
    r"""canary|Traceback|File\s\\?"|\.py\b|site-packages|\bat\s0x[0-9a-f]
      | \b(?:SELECT|INSERT\sINTO|DELETE\sFROM|set_config)\b|UPDATE\s\w+\sSET|\btrainyard\.[a-z_]+\b|pg_catalog
      | asyncpg|botocore|litestar|msgspec|redis\.|uvicorn|psycopg|trainyard_(?:api|worker|user)
      | (?:postgresql|redis)://|\b(?:Runtime|Key|Type|Attribute|Value)Error\b|Exception\b|ClientError""",
    re.VERBOSE,
)


def raising(error: BaseException) -> Callable[..., Any]:
    async def fail(*_arguments: object, **_named: object) -> NoReturn:
        raise error

    return fail


@contextlib.contextmanager
def broken_pool(error: Exception) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool._Use, "__aenter__", raising(error))
        yield


@contextlib.contextmanager
def broken_queries(error: Exception) -> Iterator[None]:
    """Statements fail; what opens and closes transactions does not."""
    execute = asyncpg.Connection.execute

    async def some(self: Any, query: str, *more: Any, **named: Any) -> Any:
        if re.match(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b", query) and "set_config" not in query:
            raise error
        return await execute(self, query, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "executemany"):
            patch.setattr(asyncpg.Connection, name, raising(error))
        patch.setattr(asyncpg.Connection, "execute", some)
        yield


@contextlib.contextmanager
def broken_store(error: Exception) -> Iterator[None]:
    async def no_bytes(*_arguments: object, **_named: object) -> Any:
        raise error
        yield b""

    with pytest.MonkeyPatch.context() as patch:
        for name, method in vars(Store).items():
            if name.startswith("_"):
                continue
            if inspect.iscoroutinefunction(method):
                patch.setattr(Store, name, raising(error))
            elif inspect.isasyncgenfunction(inspect.unwrap(method)):
                patch.setattr(Store, name, no_bytes)
        yield


@contextlib.contextmanager
def broken_redis(error: Exception) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("execute_command", "publish", "enqueue_job", "ping"):
            patch.setattr(ArqRedis, name, raising(error))
        yield


FAULTS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "the pool": lambda: broken_pool(RuntimeError(CANARY)),
    "the pool's connections": lambda: broken_pool(asyncpg.ConnectionDoesNotExistError(CANARY)),
    "a statement": lambda: broken_queries(asyncpg.PostgresSyntaxError(CANARY)),
    "a privilege": lambda: broken_queries(asyncpg.InsufficientPrivilegeError(CANARY)),
    "a constraint": lambda: broken_queries(asyncpg.CheckViolationError(CANARY)),
    "the server": lambda: broken_queries(asyncpg.InternalServerError(CANARY)),
    "a row": lambda: broken_queries(KeyError(CANARY)),
    "the store": lambda: broken_store(RuntimeError(CANARY)),
    "the store's answers": lambda: broken_store(
        ClientError({"Error": {"Code": "Odd", "Message": CANARY}}, "GetObject")
    ),
    "the store's address": lambda: broken_store(EndpointConnectionError(endpoint_url=CANARY)),
    "redis": lambda: broken_redis(RedisError(CANARY)),
    "redis's answers": lambda: broken_redis(RedisResponseError(CANARY)),
    "redis's client": lambda: broken_redis(AttributeError(CANARY)),
}


def requests(schema: Mapping[str, Any], ids: Mapping[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """One of each operation of the schema, about objects that are there."""
    for template, item in schema["paths"].items():
        path = re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], str(uuid.uuid4())), template)
        for method, operation in item.items():
            if method == "parameters":
                continue
            more: dict[str, Any] = {"headers": {"Prefer": "wait=0", "Accept": "*/*"}}
            content = operation.get("requestBody", {}).get("content", {})
            if "multipart/form-data" in content:
                more["files"] = {"file": ("t.csv", b"a,b,species\n1,2,x\n")}
            elif "application/json" in content:
                example = next(iter(content["application/json"]["examples"].values()))
                more["json"] = example["value"] | {k: v for k, v in ids.items() if k in example["value"]}
            yield method.upper(), path, more
            if method == "post":
                again = more | {"headers": more["headers"] | {"Idempotency-Key": str(uuid.uuid4())}}
                yield method.upper(), path, again


def check(what: str, answer: httpx.Response) -> None:
    shown = f"{answer.headers} {answer.text}"
    if not what.endswith(("/metrics", "/schema/openapi.json")):  # which tell of modules, and show examples
        assert (found := INTERNALS.search(shown)) is None, (what, found, shown)
    assert "canary" not in shown, what
    if answer.status_code >= 500 and not what.endswith("/health/ready"):
        assert answer.headers["content-type"] == "application/problem+json", what
        if ": HEAD " in what:
            return
        assert set(answer.json()) == {"type", "title", "status", "detail", "instance"}, what
        assert answer.json()["status"] == answer.status_code, what


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_breaks_inside_is_not_told(api: Api, worker_db: Database, fault: str) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    run = await api_runs.completed(api, me, worker_db, user)
    queued = await api_runs.queued(api, me)
    schema = (await me.get("/schema/openapi.json")).json()
    codes = []
    with FAULTS[fault](), capture_logs():
        for task_id in (str(run), queued["task_id"]):
            ids = {"task_id": task_id, "file_id": queued["request"]["file_id"], "model_name": "best_model"}
            for method, path, more in requests(schema, ids):
                if path.startswith("/ml/events") and task_id != str(run):
                    continue  # which would go on telling that the database is away
                if method == "DELETE" and path == "/account":
                    more["params"] = {"confirm": str(user)}
                what = f"{fault}: {method} {path}"
                async with asyncio.timeout(30):
                    answer = await me.request(method, path, **more)
                check(what, answer)
                codes.append(answer.status_code)
    assert len(codes) > 60
    broken = sum(code >= 500 for code in codes)
    # what is not asked for does not matter; what everything goes through does
    assert broken >= (30 if fault in ("the pool", "a statement", "a row") else 0), sorted(codes)


async def test_what_litestar_says_by_itself_tells_nothing_either(api: Api) -> None:
    me = api.user()
    assert api.app.debug is False
    for method, path, more in (
        ("GET", "/nowhere.py", {}),
        ("PUT", "/ml/train", {}),
        ("TRACE", "/files", {}),
        ("GET", "/files?limit=x&cursor=%00", {}),
        ("POST", "/ml/train", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/ml/train", {"content": b"\xff", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/ml/train", {"content": b"<x/>", "headers": {"Content-Type": "application/xml"}}),
        ("POST", "/files", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        ("GET", f"/ml/status/{uuid.uuid4()}?wait=1e400", {}),
        ("GET", "/schema/swagger", {}),
        ("GET", "/../../etc/passwd", {}),
    ):
        answer = await me.request(method, path, **more)  # type: ignore[arg-type]
        assert 400 <= answer.status_code < 500, (method, path)
        assert answer.headers["content-type"] == "application/problem+json", (method, path)
        answer.json().pop("instance")
        check(
            f"{method} {path}", httpx.Response(answer.status_code, text=answer.text.replace("nowhere.py", ""))
        )
