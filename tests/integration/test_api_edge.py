"""What every answer carries, whoever asked for what; and which pages elsewhere may read it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from services.api import observe as observing
from shared.errors import ConfigurationError
from tests.integration import api_client, api_runs
from tests.integration.api_client import Api, token, upload
from tests.integration.api_server import serving

HERE, LOCAL = "https://app.example.org", "http://localhost:5173"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


async def answers(api: Api) -> AsyncIterator[tuple[str, httpx.Response]]:
    """One of every kind: found, made, refused, missing, malformed, not allowed, public."""
    me, nobody = api.user(), api.client()
    task = await api_runs.queued(api, me)
    for method, path, more in (
        ("GET", "/files", {}),
        ("POST", "/ml/train", {"json": {"file_id": task["request"]["file_id"], "target": "species"}}),
        ("POST", "/ml/train", {"json": {"target": 1}}),
        ("POST", "/ml/train", {"content": b"{"}),
        ("GET", f"/ml/status/{task['task_id']}", {}),
        ("GET", f"/ml/status/{task['task_id']}", {"headers": {"If-None-Match": '"*"'}}),
        ("GET", f"/ml/results/{uuid.uuid4()}", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/schema/nowhere", {}),
        ("PUT", "/files", {}),
        ("OPTIONS", "/files", {}),
        ("GET", "/files?limit=many", {}),
        ("POST", "/auth/session", {}),
    ):
        yield f"{method} {path}", await me.request(method, path, **more)  # type: ignore[arg-type]
    for path in ("/files", "/health/live", "/health/ready", "/metrics", "/schema/openapi.json", "/%00", "/"):
        yield path, await nobody.get(path)


async def test_the_address_alone_says_what_is_there(api: Api) -> None:
    found = (await api.client().get("/")).json()
    assert found["name"] == "Trainyard"
    for where in ("schema", "health"):
        answer = await api.client().get(found[where])
        assert answer.status_code == 200
    schema = (await api.client().get(found["schema"])).json()
    assert schema["info"]["version"] == found["version"]


async def test_every_answer_has_the_headers(api: Api) -> None:
    seen = set()
    async for what, answer in answers(api):
        seen.add(answer.status_code)
        for name, value in ALWAYS.items():
            assert answer.headers.get(name) == value, (what, name)
        assert answer.headers["cache-control"].split(",")[0] in ("no-store", "private"), what
        assert uuid.UUID(answer.headers["x-request-id"]), what
        names = [name.lower() for name, _ in answer.headers.multi_items()]
        assert len(set(names)) == len(names), what
        assert not {"server", "server-timing", "x-powered-by", "strict-transport-security"} & set(names)
        assert not any(name.startswith("access-control") for name in names), what
    assert seen >= {200, 202, 204, 400, 401, 404, 405, 422}


async def test_streams_and_servers_have_them_too(env: dict[str, str], buckets: None) -> None:
    user = uuid.uuid4()
    who = {"Authorization": f"Bearer {token(user)}", "X-Forwarded-Proto": "https"}
    async with serving(env) as (api, base), httpx.AsyncClient(base_url=base, headers=who) as http:
        task_id = (await api_runs.queued(api, http))["task_id"]
        async with http.stream("GET", f"/ml/events/{task_id}") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for name, value in ALWAYS.items():
                assert answer.headers.get(name) == value, name
            assert "x-request-id" in answer.headers
            # the tests' own machine is a proxy that is trusted
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        plain = await http.get("/files", headers={"X-Forwarded-Proto": "http"})
        assert "strict-transport-security" not in plain.headers


async def test_a_page_may_show_itself_and_run_nothing(api: Api, worker_db: object) -> None:
    user = uuid.uuid4()
    run = await api_runs.completed(api, api.user(user), worker_db, user)  # type: ignore[arg-type]
    page = await api.user(user).get(
        f"/ml/download-all-models/{run}", headers={"Accept": "text/html", "Prefer": "wait=0"}
    )
    assert (page.status_code, page.headers["content-type"]) == (202, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy == dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    assert page.headers["x-frame-options"] == "DENY"
    assert "<script" not in page.text
    assert "style=" not in page.text


async def test_what_breaks_while_an_error_is_answered_is_a_problem_too(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_scope: object, _receive: object, _send: object) -> None:
        raise RuntimeError("SELECT secret FROM the_inside")

    monkeypatch.setattr(api.app, "asgi_handler", observing.observe(broken))
    answer = await api.client().get("/files", headers={"X-Request-Id": "mine"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["type"] == "internal"
    assert "the_inside" not in answer.text
    assert answer.headers["x-request-id"] == "mine"
    for name, value in ALWAYS.items():
        assert answer.headers.get(name) == value


@pytest.fixture
async def open_api(env: dict[str, str], buckets: None) -> AsyncIterator[Api]:
    async with api_client.running(env, CORS_ALLOWED_ORIGINS=f"{HERE}, {LOCAL}") as running:
        yield running


def listed(answer: httpx.Response, name: str) -> set[str]:
    return {word.strip().lower() for word in answer.headers.get(name, "").split(",") if word.strip()}


@pytest.mark.parametrize("origin", [HERE, LOCAL])
@pytest.mark.parametrize("path", ["/files", "/ml/status/x", "/nowhere", "/health/live", "/models/save"])
async def test_a_preflight_is_answered_without_a_token(open_api: Api, origin: str, path: str) -> None:
    answer = await open_api.client().options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,idempotency-key",
        },
    )
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert listed(answer, "access-control-allow-methods") == {"get", "head", "post", "patch", "delete"}
    assert listed(answer, "access-control-allow-headers") >= {
        "authorization",
        "content-type",
        "idempotency-key",
        "if-none-match",
        "last-event-id",
        "prefer",
        "x-user-id",
        "x-request-id",
    }
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" in listed(answer, "vary")
    assert int(answer.headers["access-control-max-age"]) <= 7200
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_answers_and_errors_can_be_read_by_the_origins_named(open_api: Api) -> None:
    me, nobody = open_api.user(), open_api.client()
    for client, method, path, status in (
        (me, "GET", "/files", 200),
        (nobody, "GET", "/files", 401),
        (me, "GET", "/nowhere", 404),
        (me, "PUT", "/files", 405),
        (me, "POST", "/ml/train", 400),
    ):
        answer = await client.request(method, path, headers={"Origin": HERE})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == HERE
        assert listed(answer, "access-control-expose-headers") >= {
            "etag",
            "location",
            "retry-after",
            "content-disposition",
            "x-request-id",
        }
        assert "origin" in listed(answer, "vary")
        assert "access-control-allow-credentials" not in answer.headers
    uploaded = await upload(me)
    assert uploaded["file_id"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://app.example.org.evil.example",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://APP.example.org",
        "https://x.app.example.org",
        "null",
        "*",
        "",
    ],
)
async def test_other_origins_read_nothing(open_api: Api, origin: str) -> None:
    for method, more in (("GET", {}), ("OPTIONS", {"Access-Control-Request-Method": "GET"})):
        answer = await open_api.user().request(method, "/files", headers={"Origin": origin, **more})
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "origin" in listed(answer, "vary")  # a cache must not show this to those who may
    same = await open_api.user().get("/files")
    assert "origin" in listed(same, "vary")


async def test_nothing_is_shared_unless_configured(api: Api) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await api.user().request(
            method, "/files", headers={"Origin": HERE, "Access-Control-Request-Method": "GET"}
        )
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "https://*.example.org",
        "app.example.org",
        "https://app.example.org/",
        "https://app.example.org/path",
        "https://App.example.org",
        "https://app.example.org:443",
        "http://app.example.org:80",
        "https://user@app.example.org",
        "ftp://app.example.org",
        "https://",
        "https://app.example.org:99999",
        "https://app.example.org?x",
        "null",
        "https://b\u00fccher.example",
        f"{HERE} {LOCAL}",
    ],
)
async def test_what_is_no_origin_is_refused_at_the_start(env: dict[str, str], origins: str) -> None:
    with pytest.raises(ConfigurationError, match="CORS_ALLOWED_ORIGINS"):
        async with api_client.running(env, CORS_ALLOWED_ORIGINS=f"{HERE},{origins}"):
            pass
