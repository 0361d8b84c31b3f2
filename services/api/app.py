"""The API's composition root: `create_app(settings)`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from services.api import tokens
from services.api.auth import PUBLIC, Authenticate
from services.api.body import JsonRequest
from services.api.context import Context, Settings, provide_api, provide_user
from services.api.long_poll import Watches
from services.api.observe import observe
from services.api.problems import HANDLERS
from services.api.routes import auth, downloads, files, models, results, system, train
from shared.resources import open_resources

VERSION = "0.1.0"


def create_app(settings: Settings) -> Litestar:
    """The application. Nothing is contacted: servers that are away stop no start.

    Raises ConfigurationError where signing in would not be safe.
    """
    tokens.check_settings(settings.auth)
    if settings.auth.auth_dev_login:
        auth.check_settings(settings.api)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_resources(
            settings.postgres.api_database_url,
            postgres=settings.postgres,
            redis=settings.redis,
            s3=settings.s3,
            application="trainyard-api",
        ) as resources:
            watches = Watches(resources.db)
            app.state.context = Context(
                settings=settings,
                resources=resources,
                tokens=tokens.Tokens(settings.auth),
                watches=watches,
            )
            try:
                yield
            finally:
                watches.close()

    app = Litestar(
        route_handlers=[
            system.router,
            auth.router(local_sign_in=settings.auth.auth_dev_login),
            files.router,
            train.router,
            results.router,
            downloads.router,
            models.router,
        ],
        dependencies={
            "api": Provide(provide_api, sync_to_thread=False),
            "user": Provide(provide_user, sync_to_thread=False),
        },
        request_class=JsonRequest,
        middleware=[Authenticate()],
        exception_handlers=HANDLERS,
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=_openapi(),
    )
    app.asgi_handler = observe(app.asgi_handler)
    return app


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Trainyard",
        version=VERSION,
        description=(
            "A table goes in, a leaderboard of trained models comes out, and every one of them can be"
            " taken home.\n\nEvery error is `application/problem+json` (RFC 9457); `type` is a stable"
            " slug, and `errors` names every fault of a body by JSON pointer, or of the query as `?name`."
        ),
        openapi_router=Router(path="/schema", route_handlers=[], opt={PUBLIC: True}, include_in_schema=False),
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        use_handler_docstrings=True,
        security=[{"bearer": []}, {"session": []}],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "session": SecurityScheme(
                    type="apiKey",
                    name="trainyard_session",
                    security_scheme_in="cookie",
                    description="Set by POST /auth/session; for GET only",
                ),
            }
        ),
    )
