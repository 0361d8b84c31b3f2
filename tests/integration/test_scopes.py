"""Every route of the application, called with keys of each scope: the rule, and no list of routes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from services.api.auth import PUBLIC
from services.api.scopes import granted, needed
from shared.contracts.accounts import Scope
from tests.integration.api_client import Api, service_token, token

ADMIN = re.compile(r"/auth/api-keys|/account|/audit")
"""Whose routes need `admin`, whatever their method; every other GET and HEAD needs `read`, and every other
method `train`."""
AT_ONCE = {"Prefer": "wait=0"}
RANK = {"read": 0, "train": 1, "admin": 2}


def calls(app: Litestar) -> Iterator[tuple[str, str]]:
    """Method and path of every route that asks who is there, with ids of nothing in the path."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        path = re.sub(r"\{[^}]*\}", lambda _: str(uuid.uuid4()), route.path_format)
        for handler in route.route_handlers:
            if not handler.opt.get(PUBLIC):
                yield from ((method, path) for method in sorted(handler.http_methods) if method != "OPTIONS")


def by_the_rule(method: str, path: str) -> str:
    if ADMIN.match(path):
        return "admin"
    return "read" if method in ("GET", "HEAD") else "train"


async def key_of(api: Api, *scopes: str) -> httpx.AsyncClient:
    made = await api.user().post("/auth/api-keys", json={"name": "a key", "scopes": scopes})
    return api.client({"Authorization": f"Bearer {made.json()['key']}"} | AT_ONCE)


@pytest.mark.parametrize("scope", RANK)
async def test_every_route_needs_a_scope(api: Api, scope: str) -> None:
    client, refused, let_by = await key_of(api, scope), 0, 0
    for method, path in calls(api.app):
        answer = await client.request(method, path)
        wanted = by_the_rule(method, path)
        missing = answer.status_code == 403 and (method == "HEAD" or answer.json()["type"] == "missing-scope")
        assert missing == (RANK[scope] < RANK[wanted]), (method, path, answer.status_code, answer.text)
        if missing and method != "HEAD":
            assert f"`{wanted}`" in answer.json()["detail"]
        refused, let_by = refused + missing, let_by + (not missing)
        if not missing and ADMIN.match(path) and method == "DELETE":
            client = await key_of(api, scope)  # the account may be gone
    assert let_by >= {"read": 12, "train": 20, "admin": 25}[scope]
    assert (refused > 0) == (scope != "admin")


@pytest.mark.parametrize("who", ["user", "service"])
async def test_people_and_services_have_every_scope(api: Api, who: str) -> None:
    for method, path in calls(api.app):
        user = uuid.uuid4()
        given = token(user) if who == "user" else service_token()
        client = api.client({"Authorization": f"Bearer {given}", "X-User-Id": str(user)} | AT_ONCE)
        answer = await client.request(method, path)
        assert "missing-scope" not in answer.text, (method, path)


def test_a_scope_holds_those_before_it() -> None:
    assert granted(["read"]) == {"read"}
    assert granted(["train"]) == granted(["read", "train"]) == {"read", "train"}
    assert granted(["admin"]) == granted(["admin", "read"]) == {"read", "train", "admin"}
    assert granted([]) == frozenset()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "get", "", "X"])
def test_a_method_that_is_not_known_to_read_changes(method: str) -> None:
    assert needed(method, {}) == Scope.TRAIN
    assert needed(method, {"scope": Scope.ADMIN}) == needed("GET", {"scope": Scope.ADMIN}) == Scope.ADMIN
