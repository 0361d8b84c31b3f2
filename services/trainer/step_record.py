"""What is said of a step while it runs in its process: in the log, in the metrics, in its job's trace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

import structlog

from services.trainer.child_outcome import ChildCancelled, ChildFailed, Kind
from shared import tracing
from shared.contracts.catalogue import MODELS
from shared.contracts.states import CandidateStatus
from shared.errors import TrainyardError
from shared.metrics import CANDIDATES, DISK_FULL, STEP_BYTES, STEPS

log = structlog.get_logger(__name__)

Progress = Callable[[float, str], None]
Told = Callable[[int | None, int], None]


ENDS = ("done", "refused", "cancelled", *get_args(Kind))
"""How a step's process may end."""


def begin_at_zero(steps: Iterable[str]) -> None:
    """What a trainer counts besides its jobs, before it has happened (`shared.metrics.begin_at_zero`)."""
    DISK_FULL.labels("trainer")
    for step in steps:
        for ways in ENDS:
            STEPS.labels(step, ways)
    for slug in {slug for models in MODELS.values() for slug in models}:
        for status in (CandidateStatus.DONE, CandidateStatus.FAILED, CandidateStatus.SKIPPED):
            CANDIDATES.labels(slug, status)


@contextlib.contextmanager
def watched(step: str, on_progress: Progress | None) -> Iterator[tuple[Progress, Told]]:
    """Around a step: what its progress is to be handed to, and its exit code and largest size in KiB once
    it has ended. How it ended is what the block raises."""
    began, ways = time.monotonic(), "done"
    with tracing.span(f"step {step}", within=True, attributes={"trainyard.step": step}) as span:

        def progress(done: float, message: str) -> None:
            span.phase(message)
            if on_progress is not None:
                on_progress(done, message)

        def told(code: int | None, max_rss_kib: int) -> None:
            seconds = round(time.monotonic() - began, 3)
            log.info("child_ended", step=step, code=code, seconds=seconds, max_rss_kib=max_rss_kib)
            span.set({"process.exit.code": code, "trainyard.max_rss_bytes": max_rss_kib * 1024})
            if max_rss_kib:
                STEP_BYTES.labels(step).observe(max_rss_kib * 1024)

        try:
            yield progress, told
        except (ChildCancelled, asyncio.CancelledError):
            ways = "cancelled"
            raise
        except ChildFailed as error:
            ways = error.kind
            raise
        except TrainyardError:  # the user's own fault, told in words
            ways = "refused"
            raise
        finally:
            STEPS.labels(step, ways).inc()
            span.set({"trainyard.outcome": ways})
