"""What is settled before any handler is asked: OPTIONS, words that are no value, the schema itself."""

from __future__ import annotations

import uuid

import pytest

from tests.integration.api_client import Api


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/files", "GET, POST, OPTIONS"),
        (f"/files/{uuid.UUID(int=7)}", "GET, DELETE, OPTIONS"),
        (f"/models/{uuid.UUID(int=7)}", "GET, PATCH, DELETE, OPTIONS"),
        (f"/models/{uuid.UUID(int=7)}/download", "GET, HEAD, OPTIONS"),
        ("/auth/session", "POST, DELETE, OPTIONS"),
    ],
)
async def test_options_names_every_method_of_a_path(api: Api, path: str, methods: str) -> None:
    me = api.user()
    answer = await me.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == methods
    refused = await me.put(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)


async def test_null_is_no_value_of_a_query(api: Api) -> None:
    me = api.user()
    for query in ("/ml/tasks?status=null", "/ml/models?task_type=Null", "/models?limit=5&task_type=null"):
        answer = await me.get(query)
        assert answer.status_code == 422, query
        (fault,) = answer.json()["errors"]
        assert fault["pointer"] in ("?status", "?task_type"), query
        assert fault["detail"] == "must be left out where there is none", query
    for query in ("/models?q=null", "/models?tag=null", "/models?other=null"):  # a word like any other
        assert (await me.get(query)).json() == {"items": [], "next_cursor": None}, query


async def test_anybody_gets_the_schema(api: Api) -> None:
    nobody = api.client()
    first, again, short = [
        await nobody.get(path) for path in ("/schema/openapi.json", "/schema/openapi.json", "/schema")
    ]
    assert first.headers["content-type"].startswith("application/json")
    assert first.json()["openapi"].startswith("3.1")
    assert first.content == again.content == short.content
    assert (await nobody.get("/schema/swagger")).json()["type"] == "not-found"
