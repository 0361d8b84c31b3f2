"""What happens before any handler, where Litestar would answer for us and be wrong."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from shared.errors import InvalidRequest

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")


async def before_handling(request: Request[Any, Any, Any]) -> Response[None] | None:
    """OPTIONS names all methods of a path, also where they are several handlers' (Litestar names the first
    one's). `?status=null` is a fault, like any other word that is no status: read leniently, as a query has
    to be, it would stand for no status at all. Raises InvalidRequest."""
    if request.method == "OPTIONS":
        return Response(None, status_code=204, headers={"Allow": ", ".join(allowed(request))})
    if b"null" in request.scope["query_string"].lower():
        fields = request.route_handler.parsed_fn_signature.parameters
        found = [
            (f"?{name}", "must be left out where there is none")
            for name, value in request.query_params.multi_items()
            if value.lower() == "null" and name in fields and fields[name].is_optional
        ]
        if found:
            raise InvalidRequest(found)
    return None


def allowed(request: Request[Any, Any, Any]) -> list[str]:
    """The methods that the request's path has."""
    route = request.app.asgi_router.handle_routing
    found = []
    for method in METHODS:
        try:
            route(path=request.scope["path"], method=method)
        except HTTPException:
            continue
        found.append(method)
    return found
