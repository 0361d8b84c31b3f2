"""Structured logs on standard error: JSON in production, coloured lines on a developer's terminal.

What a request or a job binds with `structlog.contextvars.bind_contextvars` (task_id, request_id …)
stands in every line logged under it.
"""

from __future__ import annotations

import logging
import sys

import structlog

from shared.settings import Logging

SECRET = ("password", "secret", "token", "authorization", "cookie", "access_key")


def redact(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Values under a name that sounds like a secret never reach a log."""
    for key in event:
        if any(word in key.lower() for word in SECRET):
            event[key] = "[redacted]"
    return event


def configure(settings: Logging, *, service: str) -> None:
    """Set up structlog, and send the standard library's records (arq, botocore …) the same way."""
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
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
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in ("arq", "botocore", "aiobotocore", "boto3", "urllib3", "asyncio", "httpx"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(service=service)
