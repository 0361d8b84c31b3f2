"""What is logged in a step stands in the trainer's log: under its ids, bounded, and not believed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from structlog.contextvars import bound_contextvars
from structlog.testing import LogCapture

from services.trainer import child_log
from services.trainer.child import Children
from services.trainer.child_log import MOST_LINES, Said
from shared.metrics import STEP_BYTES, STEPS

STEPS_HERE = {name: f"tests.unit.trainer.log_steps:{name}" for name in ("libraries", "flood", "forge")}
MEMORY = 512 * 2**20


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the trainer logs of steps, with what was bound to the context it logged it in."""
    capture = LogCapture()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[structlog.contextvars.merge_contextvars, capture]
    )
    monkeypatch.setattr(child_log, "log", logger)
    return capture.entries  # type: ignore[return-value]


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    async with Children(STEPS_HERE, preload=[], log_level="info") as made:
        yield made


async def run(children: Children, tmp_path: Path, step: str, **payload: Any) -> Any:
    answer = await children.run(
        step, payload, scratch=tmp_path / step, timeout_s=60, memory_bytes=MEMORY, on_progress=lambda *_: None
    )
    return json.loads(answer)


async def test_what_libraries_say_stands_under_the_ids_of_the_job(
    children: Children, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    before = STEPS.labels("libraries", "done")._value.get()
    with bound_contextvars(candidate_id="c-1", task_id="t-1", request_id="r-1"):
        assert await run(children, tmp_path, "libraries") == {"said": "all"}
    assert [(line["by"], line["said"], line["rank"]) for line in told] == [
        ("lightgbm", "no further splits, 3 left", "warning"),
        ("lightgbm", "failed once: ValueError: bad bin", "error"),
        ("ours", "event='odd rows' rows=7", "warning"),
    ]
    for line in told:
        assert (line["candidate_id"], line["task_id"], line["request_id"]) == ("c-1", "t-1", "r-1")
        assert (line["event"], line["step"], line["log_level"]) == ("step says", "libraries", "warning")
    assert STEPS.labels("libraries", "done")._value.get() == before + 1
    assert STEP_BYTES.labels("libraries")._sum.get() > 2**20


async def test_at_debug_they_are_asked_for_more(tmp_path: Path, told: list[dict[str, Any]]) -> None:
    async with Children(STEPS_HERE, preload=[], log_level="debug") as children:
        await run(children, tmp_path, "libraries")
    said = [line["said"] for line in told]
    assert said[0] == "[LightGBM] started"
    assert "nobody wants to know" not in said


async def test_a_flood_ends_in_a_count(
    children: Children, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    assert await run(children, tmp_path, "flood", lines=3 * MOST_LINES) == {"lines": 3 * MOST_LINES}
    *taken, last = told
    # a pipe that is full loses what comes next, and the first hundred lines fit into it
    assert [line["said"] for line in taken] == [f"line {number}" for number in range(MOST_LINES)]
    assert last["event"] == "step said more"
    assert 0 < last["left_out"] <= 2 * MOST_LINES


async def test_a_step_cannot_pass_for_the_trainer(
    children: Children, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    with bound_contextvars(task_id="mine"):
        assert await run(children, tmp_path, "forge") == {"done": "yes"}
    (line,) = told
    assert line["task_id"] == "mine"
    assert line["log_level"] == "warning"
    assert len(line["said"]) == child_log.LONGEST_EVENT
    assert line["said"].isprintable()
    assert "\x1b" not in line["said"]
    assert line["by"].startswith('x", "task_id"')


def test_the_longest_line_is_taken_whole_by_a_pipe() -> None:
    for character in ("\x00", "\N{REPLACEMENT CHARACTER}", "\N{GRINNING FACE}", '"'):
        said = Said(
            level="warning",
            name=character * child_log.LONGEST_NAME,
            event=character * child_log.LONGEST_EVENT,
        )
        assert len(msgspec.json.encode(said)) + 1 <= 4096, repr(character)
