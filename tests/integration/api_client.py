"""The API in this process over real servers, and people who call it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import jwt
from litestar import Litestar

from services.api.app import create_app
from services.api.context import Context, load_settings

SECRET = "a secret that only the tests know of, 32 bytes or more"
TESTED = {
    "AUTH_JWT_SECRET": SECRET,
    "AUTH_DEV_LOGIN": "true",
    # a test asks oftener than a person; tests/integration/test_api_rates.py tries them
    "RATE_LIMIT_READS_PER_MIN": "0",
    "RATE_LIMIT_WRITES_PER_MIN": "0",
    "RATE_LIMIT_FAILED_LOGINS_PER_MIN": "0",
    # what the API hands over is looked at, also on stores that it could send people to
    "DOWNLOADS": "proxy",
}
CSV = b"a,b,species\n1,2,x\n3,4,y\n"


def token(user: uuid.UUID | None, *, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token as Supabase makes it; a claim given as None is left out."""
    payload = {
        "sub": str(user),
        "aud": "authenticated",
        "role": "authenticated",
        "email": f"{user}@example.org",
        "exp": int(time.time()) + 600,
    } | claims
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, secret, algorithm=algorithm)


def service_token() -> str:
    return token(None, sub=None, aud=None, email=None, role="service_role")


class Api:
    """The application, and clients that act as one user each."""

    def __init__(self, app: Litestar) -> None:
        self.app = app
        self._clients: list[httpx.AsyncClient] = []

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    def client(self, headers: Mapping[str, str | bytes] | None = None) -> httpx.AsyncClient:
        made = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app, raise_app_exceptions=False),  # type: ignore[arg-type]
            base_url="http://127.0.0.1",
            headers=headers,  # type: ignore[arg-type]
        )
        self._clients.append(made)
        return made

    def user(self, user: uuid.UUID | None = None) -> httpx.AsyncClient:
        return self.client({"Authorization": f"Bearer {token(user or uuid.uuid4())}"})

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()


@contextlib.asynccontextmanager
async def running(env: Mapping[str, str], **more: str) -> AsyncIterator[Api]:
    """The API with these variables, and `more` over them."""
    settings = load_settings(TESTED | dict(env) | more)
    app = create_app(settings)
    api = Api(app)
    ready, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # a task of its own: the lifespan must be left by the task that entered it, and a fixture is not
        try:
            async with app.lifespan():
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    living = asyncio.create_task(live())
    await ready.wait()
    try:
        yield api
    finally:
        await api.aclose()
        stop.set()
        await living


async def upload(client: httpx.AsyncClient, content: bytes = CSV, name: str = "iris.csv") -> dict[str, Any]:
    answer = await client.post("/files", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())
