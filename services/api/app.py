"""The API's composition root: `create_app(settings)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from litestar import Litestar
from litestar.di import Provide

from services.api import openapi, tokens
from services.api.accounts import Accounts
from services.api.auth import Authenticate
from services.api.backlog import Backlog
from services.api.before import before_handling
from services.api.body import JsonRequest
from services.api.context import Context, Settings, provide_api, provide_user
from services.api.cors import allowed_origins, cors
from services.api.idempotency import provide_once
from services.api.keys import ApiKeys
from services.api.long_poll import Watches
from services.api.observe import observe
from services.api.pages import BUILT, Pages
from services.api.pages import router as page_router
from services.api.places import Places
from services.api.problems import HANDLERS
from services.api.rates import Rates
from services.api.routes import (
    account,
    api_keys,
    auth,
    downloads,
    files,
    models,
    results,
    status,
    system,
    train,
)
from services.api.throttle import LimitRates, RefuseGuesses
from services.api.views import Views
from shared.queue import TASKS_CHANNEL, USERS_CHANNEL, listen
from shared.resources import open_resources


def create_app(settings: Settings) -> Litestar:
    """The application. Nothing is contacted: servers that are away stop no start.

    Raises ConfigurationError where signing in would not be safe, or the origins allowed are none.
    """
    tokens.check_settings(settings.auth)
    if settings.auth.auth_dev_login:
        auth.check_settings(settings.api)
    origins = allowed_origins(settings.api.cors_allowed_origins)
    pages = Pages(Path(settings.api.dashboard_dir or BUILT), settings.auth.supabase_url)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_resources(
            settings.postgres.api_database_url,
            postgres=settings.postgres,
            redis=settings.redis,
            s3=settings.s3,
            application="trainyard-api",
        ) as resources:
            watches, rates = Watches(resources.db), Rates(resources.redis)
            accounts = Accounts(resources.db)
            app.state.context = Context(
                settings=settings,
                resources=resources,
                tokens=tokens.Tokens(settings.auth),
                accounts=accounts,
                backlog=Backlog(resources.db),
                keys=ApiKeys(),
                watches=watches,
                places=Places(),
                views=Views(),
                rates=rates,
            )
            background = [
                asyncio.create_task(listen(resources.redis, TASKS_CHANNEL, watches.announced)),
                asyncio.create_task(listen(resources.redis, USERS_CHANNEL, accounts.announced)),
                asyncio.create_task(rates.run()),
            ]
            pages.tell()
            try:
                yield
            finally:
                for task in background:
                    task.cancel()
                await watches.stop()
                await asyncio.gather(*background, return_exceptions=True)

    app = Litestar(
        route_handlers=[
            system.router,
            auth.router(local_sign_in=settings.auth.auth_dev_login),
            api_keys.router,
            account.router,
            files.router,
            train.router,
            status.router,
            results.router,
            downloads.router,
            models.router,
            page_router(pages),
        ],
        dependencies={
            "api": Provide(provide_api, sync_to_thread=False),
            "user": Provide(provide_user, sync_to_thread=False),
            "once": Provide(provide_once),
        },
        request_class=JsonRequest,
        request_max_body_size=settings.http.max_json_bytes,
        middleware=[RefuseGuesses(settings.rate_limits), Authenticate(), LimitRates(settings.rate_limits)],
        before_request=before_handling,
        exception_handlers=HANDLERS,
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=openapi.config(),
    )
    answering = app.asgi_handler
    if origins:
        answering = cors(answering, origins)
    app.asgi_handler = observe(answering)
    return app
