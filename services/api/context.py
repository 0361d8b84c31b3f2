"""What every handler works with, opened once by `create_app` and injected as `api` and `user`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from arq.connections import ArqRedis
from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Struct

from services.api.accounts import Accounts
from services.api.auth import Identity
from services.api.backlog import Backlog
from services.api.keys import ApiKeys
from services.api.long_poll import Watches
from services.api.places import Places
from services.api.rates import Rates
from services.api.tokens import Tokens
from services.api.views import Views
from shared.contracts.states import JobKind
from shared.db.pool import Database
from shared.errors import NotFound
from shared.queue import announce, hint
from shared.resources import Resources
from shared.settings import (
    S3,
    Api,
    Auth,
    Http,
    Logging,
    Postgres,
    Quotas,
    RateLimits,
    Redis,
    Retention,
    Tracing,
    load,
    require,
)
from shared.storage import Store

STORE_PATIENCE_S = 6.0
"""How long one call of the store may take, or an upload may not get further, while somebody waits."""


class Settings(Struct, frozen=True, kw_only=True):
    """All that the API is configured by."""

    api: Api
    auth: Auth
    postgres: Postgres
    redis: Redis
    s3: S3
    retention: Retention
    quotas: Quotas
    rate_limits: RateLimits
    logging: Logging
    http: Http
    tracing: Tracing


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Raises ConfigurationError for a variable that is wrong or missing."""
    settings = Settings(
        api=load(Api, environ),
        auth=load(Auth, environ),
        postgres=load(Postgres, environ),
        redis=load(Redis, environ),
        s3=load(S3, environ),
        retention=load(Retention, environ),
        quotas=load(Quotas, environ),
        rate_limits=load(RateLimits, environ),
        logging=load(Logging, environ),
        http=load(Http, environ),
        tracing=load(Tracing, environ),
    )
    require(settings.postgres, "api_database_url")
    require(settings.s3, "s3_endpoint_url")
    return settings


class Context(Struct, frozen=True, kw_only=True):
    settings: Settings
    resources: Resources
    tokens: Tokens
    accounts: Accounts
    backlog: Backlog
    keys: ApiKeys
    watches: Watches
    places: Places
    views: Views
    rates: Rates

    @property
    def db(self) -> Database:
        return self.resources.db

    @property
    def redis(self) -> ArqRedis:
        return self.resources.redis

    @property
    def store(self) -> Store:
        return self.resources.store

    async def changed(self, task_id: uuid.UUID, *jobs: tuple[JobKind, uuid.UUID]) -> None:
        """After the commit of what changed a task: wake the workers for its jobs, and whoever watches
        it. Never raises, and takes a second at most where Redis does not answer."""
        self.watches.heard(task_id)
        await asyncio.gather(hint(self.redis, jobs), announce(self.redis, task_id))


def provide_api(state: State) -> Context:
    """The dependency `api`."""
    context: Context = state.context
    return context


def provide_user(request: Request[Identity, Any, State], api: NamedDependency[Context]) -> Identity:
    """The dependency `user`: whom this request acts as.

    It takes `api` so that Litestar provides one after the other: for two that are independent it
    starts a task each, which costs more than a status poll's own work.
    """
    return request.user


FileId = Annotated[str, PathParameter(description="A file's id (UUID)")]
TaskId = Annotated[str, PathParameter(description="A run's id (UUID)")]
ModelId = Annotated[str, PathParameter(description="A saved model's id (UUID)")]
"""Ids of a path are parsed by `parse_id`, so that a malformed one is a 404 like a missing one."""


def parse_id(text: str, missing: type[NotFound]) -> uuid.UUID:
    """An id of a path. Raises `missing` for one that is malformed: nobody is told the difference."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        raise missing from None
    if str(parsed) != text.lower():  # braces, urn:uuid: and missing hyphens are other spellings
        raise missing
    return parsed
