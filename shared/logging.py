"""Structured logs on standard error: JSON in production, coloured lines on a developer's terminal.

What a request or a job binds with `structlog.contextvars.bind_contextvars` (task_id, request_id …)
stands in every line logged under it, whoever wrote it, and `service` and `instance` in all of them. A job
brings along the id of the request that asked for it, so that one id finds a run's lines in all services. No
line shows a secret (`shared.redaction`).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TextIO

import structlog

from shared.redaction import HIDDEN, redactor
from shared.settings import Logging

SECRET = ("password", "secret", "token", "authorization", "cookie", "access_key", "api_key")


def redact(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Values under a name that sounds like a secret never reach a log."""
    for key in event:
        if any(word in key.lower() for word in SECRET):
            event[key] = HIDDEN
    return event


def request_id() -> str | None:
    """Of the request that is answered here, or that the job done here goes back to."""
    return structlog.contextvars.get_contextvars().get("request_id")


def _always(**fields: str) -> structlog.typing.Processor:
    """These in every line: bound to a context, they would be missing in threads and tasks with another."""

    def add(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, **fields}

    return add


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """The last that is done to a line, tracebacks included, is taking the secrets out."""

    def __init__(self, hide: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(super().format(record))


def configure(
    settings: Logging,
    *,
    service: str,
    instance: str = "",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up structlog, and send the standard library's records (arq, botocore …) and what nobody caught
    the same way, to `stream` (default: standard error). `service` and `instance` (which process of it) stand
    in every line. `secrets`: values that no line may show."""
    stream = stream or sys.stderr
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _always(service=service, **({"instance": instance} if instance else {})),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[*shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        # the other formatters show the variables of every frame, and break a secret over two lines
        else [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _Formatter(
            redactor(secrets),
            foreign_pre_chain=shared_processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in ("arq", "botocore", "aiobotocore", "boto3", "urllib3", "asyncio", "httpx", "opentelemetry"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    # what Python itself would print of an error that nobody caught goes past every formatter
    sys.excepthook = _uncaught
    threading.excepthook = lambda of: _uncaught(of.exc_type, of.exc_value, of.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or not issubclass(kind, Exception):
        sys.__excepthook__(kind, error or kind(), trace)  # Ctrl-C has nothing to hide
        return
    logging.getLogger("uncaught").critical("uncaught error", exc_info=(kind, error, trace))
