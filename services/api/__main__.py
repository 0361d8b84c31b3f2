"""`python -m services.api`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from litestar import Litestar

from services.api.app import create_app
from services.api.connections import guarded, watch
from services.api.context import load_settings
from services.api.secrets_again import read_again
from shared.errors import ConfigurationError
from shared.logging import configure
from shared.settings import Api, secrets_of
from shared.tracing import Exporting

GRACE_S = 10
"""How long requests under way may take after SIGTERM."""
WRONG_CONFIGURATION = 2


class Server(uvicorn.Server):
    """Answers long polls at once when it is told to stop, instead of letting them run out."""

    def __init__(self, config: uvicorn.Config, app: Litestar, hide: Callable[[], None]) -> None:
        super().__init__(config)
        self._litestar = app
        self._hide = hide

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._litestar.openapi_schema.to_schema()  # before anybody waits for it
        await super().startup(sockets)
        self._watching = asyncio.create_task(watch(self.server_state.connections))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._read_secrets_again)
        # what is there now stays: the collector need not go over all of it again and again
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._watching.cancel()

    def _read_secrets_again(self) -> None:
        context = self._litestar.state.get("context")
        if context is not None:
            read_again(context.tokens, os.environ, self._hide)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        context = self._litestar.state.get("context")
        if context is not None:
            context.watches.stop_soon()
        super().handle_exit(sig, frame)


def trusted_proxies(settings: Api) -> list[str]:
    """Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. Raises ConfigurationError."""
    found = [name.strip() for name in settings.forwarded_allow_ips.split(",") if name.strip()]
    for name in found:
        try:
            ipaddress.ip_network(name)
        except ValueError:
            raise ConfigurationError(
                f"FORWARDED_ALLOW_IPS: {name!r} is not an address or a network"
            ) from None
    return found


def main() -> int:
    instance = f"{socket.gethostname()}:{os.getpid()}"
    try:
        settings = load_settings(os.environ)
        app = create_app(settings)
        proxies = trusted_proxies(settings.api)
        traced = Exporting(settings.tracing, service="api", instance=instance)
    except ConfigurationError as error:
        print(f"trainyard api: {error.detail}", file=sys.stderr)
        return WRONG_CONFIGURATION

    def log_as_set() -> None:
        configure(settings.logging, service="api", instance=instance, secrets=secrets_of(os.environ))

    log_as_set()
    config = uvicorn.Config(
        app,
        host=settings.api.host,
        port=settings.api.port,
        http=guarded(settings.http),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.logging.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config, app, log_as_set)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises what it caught once more when it is done: being told to stop is no failure
        signal.signal(number, lambda *_: sys.exit(0))
    with traced:
        server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
