"""The OpenAPI schema, which is part of the product: `/schema/openapi.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from litestar import Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Example, OpenAPI, OpenAPIResponse, Operation, SecurityScheme

from services.api.auth import COOKIE, PUBLIC

VERSION = "0.1.0"

_DESCRIPTION = """A table goes in, a leaderboard of trained models comes out, and every one of them can be
taken home.

Every error is `application/problem+json` (RFC 9457): `type` is a stable slug, and `errors` names every
fault of a body by JSON pointer, of the query as `?name`. Lists answer `{items, next_cursor}`. Somebody
else's file, run or model is a 404, like one that does not exist."""


async def _no_pages(response: Response[Any]) -> Response[Any]:
    """Litestar answers other paths below /schema with a page of its own: here a 404 is a problem."""
    if response.status_code == 404:
        raise NotFoundException
    return response


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Trainyard",
        version=VERSION,
        description=_DESCRIPTION,
        openapi_router=Router(
            path="/schema",
            route_handlers=[],
            opt={PUBLIC: True},
            include_in_schema=False,
            after_request=_no_pages,
        ),
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        use_handler_docstrings=True,
        security=[{"bearer": []}, {"session": []}],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="JWT",
                    description="A user's token; with another service's, `X-User-Id` says for whom it acts",
                ),
                "session": SecurityScheme(
                    type="apiKey",
                    name=COOKIE,
                    security_scheme_in="cookie",
                    description="Set by `POST /auth/session`; honoured for GET only",
                ),
            }
        ),
    )


def correct(schema: OpenAPI) -> None:
    """Take out what Litestar puts in by itself and we do not answer: its own 400 for parameters that do
    not fit (ours is a 422 problem), and the names of examples inside of them."""
    for operation in _operations(schema):
        responses = operation.responses or {}
        for status, response in list(responses.items()):
            if not isinstance(response, OpenAPIResponse) or not response.content:
                continue
            if status == "400" and "application/json" in response.content:
                del responses[status]
            for media in response.content.values():
                for example in (media.examples or {}).values():
                    if isinstance(example, Example):
                        example.id = None


def _operations(schema: OpenAPI) -> Iterator[Operation]:
    for path in (schema.paths or {}).values():
        for operation in (path.get, path.head, path.post, path.patch, path.put, path.delete):
            if operation is not None:
                yield operation
