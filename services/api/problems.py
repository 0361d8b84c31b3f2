"""Errors as application/problem+json (RFC 9457): the one table from domain error to status.

Nothing else in the API names a status for an error. A 5xx is logged with its traceback and never
carries one; every line of the log under a request has its `request_id`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from services.api.before import allowed
from shared import errors
from shared.contracts.problems import Fault, Problem
from shared.errors import TrainyardError
from shared.storage import ObjectExists, ObjectMissing

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 2

STATUS: dict[type[TrainyardError], int] = {
    TrainyardError: 500,
    errors.NotFound: 404,
    errors.TaskNotFound: 404,
    errors.ModelNotFound: 404,
    errors.FileNotFound: 404,
    errors.PreviewNotFound: 404,
    errors.BundleNotFound: 404,
    errors.ExportNotFound: 404,
    errors.ApiKeyNotFound: 404,
    errors.TrainingNotCompleted: 400,
    errors.MalformedRequest: 400,
    errors.InvalidRequest: 422,
    errors.TableUnreadable: 422,
    errors.CannotTrain: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.MissingScope: 403,
    errors.Conflict: 409,
    errors.AccountBeingDeleted: 409,
    errors.KeyInUse: 409,
    errors.KeyReused: 422,
    errors.QuotaExceeded: 429,
    errors.TooManyRequests: 429,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.DatabaseUnavailable: 503,
    errors.StorageUnavailable: 503,
    errors.NoRoom: 503,
    errors.ClusterUnavailable: 503,
    errors.ClusterFailed: 503,
    errors.SignInUnavailable: 503,
    errors.BundleFailed: 503,
    errors.ConversionFailed: 503,
    errors.ConversionNotFound: 404,
    errors.NotConvertible: 422,
    errors.ArtifactRefused: 500,
    errors.ExportFailed: 503,
    errors.StorageCorrupt: 500,
    errors.LeaseLost: 500,
    errors.ConfigurationError: 500,
    ObjectMissing: 404,
    ObjectExists: 409,
}
"""Every domain error that has a slug of its own; a test fails where one is missing."""

_OWN_WORDS = {400, 401, 403, 404, 409, 413, 415, 422, 429, 503}
"""Statuses whose error says something its reader can act on; others say only that we failed."""

_HTTP_SLUGS = {
    400: ("malformed-request", "The request could not be read"),
    401: ("unauthenticated", "A valid token is required"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "This method is not allowed here"),
    413: ("too-large", "The body is over the size limit"),
    416: ("range-not-satisfiable", "The file has no such range"),
    415: ("unsupported-media-type", "This media type is not taken"),
    422: ("invalid-request", "The request has faults"),
    429: ("too-many-requests", "Too many requests"),
}


def status_of(error: type[TrainyardError]) -> int:
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def as_problem(error: TrainyardError, instance: str | None = None) -> Problem:
    """What a domain error shows; one that is our own fault is a 500 without details."""
    status = status_of(type(error))
    return Problem(
        type=error.slug if status in _OWN_WORDS else TrainyardError.slug,
        title=type(error).title() if status in _OWN_WORDS else "Something went wrong",
        status=status,
        detail=error.detail if status in _OWN_WORDS else "The error was logged under this request's id",
        instance=instance or msgspec.UNSET,
        errors=[Fault(pointer, detail) for pointer, detail in error.errors]
        if isinstance(error, errors.InvalidRequest)
        else msgspec.UNSET,
    )


def respond(problem: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    given = dict(headers or {})
    if problem.status == 401:
        given["WWW-Authenticate"] = "Bearer"
    if problem.status in (429, 503):
        given.setdefault("Retry-After", str(RETRY_AFTER_S))
    given.setdefault("Cache-Control", "no-store")
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=given)


def on_domain_error(request: Request[Any, Any, Any], error: TrainyardError) -> Response[Problem]:
    problem = as_problem(error, request.scope["path"])
    if problem.status == 500:
        log.error("request failed", exc_info=error, **error.context)
    elif problem.status == 503:
        log.warning("unavailable", error=error.slug, **error.context)
    if isinstance(error, errors.AccountBeingDeleted) and (user := request.scope.get("user")) is not None:
        request.app.state.context.accounts.forget(user.user_id)
    retry_after = error.context.get("retry_after_s")
    return respond(problem, {"Retry-After": str(retry_after)} if retry_after else None)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """Litestar's own: no such route, a body over the limit, a query that does not fit …"""
    if error.status_code >= 500:
        return on_anything_else(request, error)
    slug, name = _HTTP_SLUGS.get(error.status_code, ("bad-request", "The request could not be answered"))
    problem = Problem(
        type=slug, title=name, status=error.status_code, detail=name, instance=request.scope["path"]
    )
    if isinstance(error, MethodNotAllowedException):
        return respond(problem, {"Allow": ", ".join(allowed(request))})
    if error.status_code not in (404, 405) and error.detail:
        problem.detail = error.detail
    return respond(problem, dict(error.headers or {}))


def on_invalid_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Response[Problem]:
    """Parameters of the query that do not fit, all of them, named as `?name`."""
    found = [
        (f"?{fault['key']}", fault["message"])
        for fault in (error.extra if isinstance(error.extra, list) else [])
        if isinstance(fault, dict) and fault.get("key") != "data"
    ]
    if not found:
        return on_domain_error(request, errors.MalformedRequest("A JSON body is required"))
    return on_domain_error(request, errors.InvalidRequest(found))


def on_anything_else(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.error("request failed", exc_info=error)
    return respond(as_problem(TrainyardError(), request.scope["path"]))


HANDLERS: dict[Any, Any] = {
    TrainyardError: on_domain_error,
    ValidationException: on_invalid_parameters,
    HTTPException: on_http_exception,
    Exception: on_anything_else,
}


def responses(*given: type[TrainyardError], public: bool = False) -> dict[int, ResponseSpec]:
    """An operation's errors for the OpenAPI schema: those named, and what any call can give."""
    always: tuple[type[TrainyardError], ...] = (
        ()
        if public
        else (
            errors.Unauthenticated,
            errors.Forbidden,
            errors.MissingScope,
            errors.AccountBeingDeleted,
            errors.TooManyRequests,
            errors.DatabaseUnavailable,
            errors.SignInUnavailable,
        )
    )
    by_status: dict[int, list[type[TrainyardError]]] = {}
    for error in dict.fromkeys((*given, *always, TrainyardError)):
        by_status.setdefault(status_of(error), []).append(error)
    return {status: _spec(status, classes) for status, classes in sorted(by_status.items())}


def unsatisfiable() -> dict[int, ResponseSpec]:
    """The 416 of a download, which is HTTP's own."""
    slug, title = _HTTP_SLUGS[416]
    value = {"type": slug, "title": title, "status": 416, "detail": "The file has 48213 bytes"}
    example = Example(id=slug, summary=title, value=value)
    return {
        416: ResponseSpec(
            Problem, generate_examples=False, media_type=PROBLEM_JSON, description=title, examples=[example]
        )
    }


def _spec(status: int, classes: list[type[TrainyardError]]) -> ResponseSpec:
    return ResponseSpec(
        Problem,
        generate_examples=False,
        media_type=PROBLEM_JSON,
        description=" · ".join(c.title() for c in classes),
        examples=[Example(id=c.slug, summary=c.title(), value=_example(c)) for c in classes],
    )


def _example(error: type[TrainyardError]) -> dict[str, Any]:
    made = (
        errors.InvalidRequest([("/target", "there is no column 'specis'"), ("/cv_folds", "must be >= 2")])
        if error is errors.InvalidRequest
        else error()
    )
    return dict(msgspec.to_builtins(as_problem(made)))


__all__ = ["HANDLERS", "PROBLEM_JSON", "STATUS", "as_problem", "respond", "responses", "unsatisfiable"]
