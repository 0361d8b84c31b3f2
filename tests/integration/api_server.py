"""The API over real connections, in this process: for what only a connection shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping

import uvicorn

from services.api.app import create_app
from services.api.context import load_settings
from tests.integration.api_client import TESTED, Api


class _Server(uvicorn.Server):
    """Leaves the signals to the tests' own process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(env: Mapping[str, str], **more: str) -> AsyncIterator[tuple[Api, str]]:
    """The API with these variables, and `more` over them, and its URL."""
    app = create_app(load_settings(TESTED | dict(env) | more))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="on", log_config=None, ws="none")
    server = _Server(config)
    running = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while not server.started:
                assert not running.done()
                await asyncio.sleep(0.01)
        yield Api(app), f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        context = app.state.get("context")
        if context is not None:
            context.watches.stop_soon()
        server.should_exit = True
        await running
