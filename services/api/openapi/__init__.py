"""The OpenAPI schema, which is part of the product: `/schema/openapi.json`.

Handlers say in their decorators what is theirs: a summary, the answers (`answers.answer`), the errors
(`problems.responses`). What follows by rule from that is put in by `document.publish`, so that a new route
gets it without anyone adding it. An operation's id is its handler's name: it is a method's name in clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from litestar import Response, Router
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, OpenAPI, SecurityScheme, Tag
from litestar.types.internal_types import PathParameterDefinition

from services.api.auth import COOKIE, PUBLIC
from services.api.openapi.document import publish

VERSION = "0.1.0"

_DESCRIPTION = """A table goes in, a leaderboard of trained models comes out, and every one of them can be
taken home: `POST /files`, `POST /ml/train`, `GET /ml/status/{task_id}`, then any of the downloads.

- Every error is `application/problem+json` (RFC 9457): `type` is a stable slug, and `errors` names every
fault of a body by JSON pointer, of the query as `?name`. A method that a path does not have is a 405 with
`Allow`.
- Somebody else's file, run or model is a 404, like one that does not exist, like a malformed id.
- Lists answer `{items, next_cursor}`, and take `limit` and `cursor`.
- JSON is in snake_case; times are RFC 3339 in UTC, sizes bytes, durations seconds, ratios 0 to 1. A field
that has nothing to say is left out; unknown fields of a request are faults.
- Every answer carries `X-Request-Id`: the caller's own where it sends one, and what the logs know it by."""

_TAGS = {
    "Files": "Tables: uploaded once, described by a profile, trained on as often as you like",
    "Training": "Ask for a run, watch it, stop it, go on with it",
    "Results": "What a run came to",
    "Downloads": "A run's models, leaderboard and everything as one ZIP, as files",
    "Saved models": "The registry: models that outlive their run",
    "Signing in": "Sessions for browsers",
    "API keys": "For other services and scripts: made, listed, revoked",
    "Account": "What is kept of you: all of it to take along, or to delete",
    "Operation": "For whoever runs the service; public, and without anything that is a user's",
}


@dataclass
class Document(OpenAPI):
    """Litestar's description of the routes; written out, it is the one we publish."""

    handlers: dict[str, HTTPRouteHandler] = field(default_factory=dict)
    """By operation id."""
    published: dict[str, Any] | None = None

    def to_schema(self) -> dict[str, Any]:
        """Made once: it takes some tenths of a second, in which the process does nothing else."""
        if self.published is None:
            self.published = publish(super().to_schema(), self.handlers)
        return self.published

    @property
    def _exclude_fields(self) -> set[str]:
        return super()._exclude_fields | {"handlers", "published"}


class Rendered(JsonRenderPlugin):
    """Its bytes are put together once: anybody may ask for them, as often as they like."""

    def __init__(self) -> None:
        super().__init__(path=["/openapi.json", "/"], media_type=MediaType.JSON)
        self._bytes: bytes | None = None

    def render(self, request: Any, openapi_schema: dict[str, Any]) -> bytes:
        if self._bytes is None:
            self._bytes = super().render(request, openapi_schema)
        return self._bytes


class Config(OpenAPIConfig):
    def to_openapi_schema(self) -> Document:
        made = super().to_openapi_schema()
        handlers: dict[str, HTTPRouteHandler] = {}

        def name(handler: HTTPRouteHandler, method: Any, _path: list[str | PathParameterDefinition]) -> str:
            given = f"head_{handler.handler_name}" if method == "HEAD" else handler.handler_name
            handlers[given] = handler
            return given

        self.operation_id_creator = name
        return Document(**vars(made), handlers=handlers)


async def _no_pages(response: Response[Any]) -> Response[Any]:
    """Litestar answers other paths below /schema with a page of its own: here a 404 is a problem."""
    if response.status_code == 404:
        raise NotFoundException
    return response


def config() -> OpenAPIConfig:
    return Config(
        title="Trainyard",
        version=VERSION,
        summary="Trains a leaderboard of models on a table and hands every one of them over",
        description=_DESCRIPTION,
        license=License(name="Apache 2.0", identifier="Apache-2.0"),
        openapi_router=Router(
            path="/schema",
            route_handlers=[],
            opt={PUBLIC: True},
            include_in_schema=False,
            after_request=_no_pages,
        ),
        # a page that shows it would load its scripts from elsewhere: any viewer takes the document
        render_plugins=[Rendered()],
        use_handler_docstrings=True,
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        components=Components(
            security_schemes={
                "bearerAuth": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="JWT",
                    description="A user's token (`role: authenticated`), or another service's"
                    " (`role: service_role`), which says in `X-User-Id` for whom it acts",
                ),
                "apiKeyAuth": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="API key",
                    description="A key of `POST /auth/api-keys`, sent like a token. Each operation names the"
                    " scope that it needs: `read`, `train` (which reads too) or `admin` (which does all)",
                ),
                "sessionCookie": SecurityScheme(
                    type="apiKey",
                    name=COOKIE,
                    security_scheme_in="cookie",
                    description="Set by `POST /auth/session`; honoured for GET only",
                ),
            }
        ),
    )
