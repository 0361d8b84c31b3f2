"""What benchmarks measure with: if it is wrong, so is every figure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from services.trainer.outcome import MODEL_FILE
from shared.contracts.catalogue import MODELS
from shared.contracts.states import TaskType
from tests.bench import memory, report
from tests.bench.http_load import content_length, per_second, request, seconds_each
from tests.bench.product import tree_seconds
from tests.bench.work import fits, steps
from tests.unit.trainer import mixed_table

MIB = 2**20
HOLDS = """
import sys
block = bytearray(100 * 2**20)
block[::4096] = bytes(len(block[::4096])).replace(b"\\0", b"x")
del block
print("done", flush=True)
sys.stdin.read()
"""
BURNS = "import time\nuntil = time.process_time() + 0.3\nwhile time.process_time() < until: pass"
"""A child that takes 0.3 s of a core."""


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request with the same bytes, in two pieces; what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer[:20])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(answer[20:])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_load_counts_whole_answers_and_asks_in_turn(run: Callable[[Any], None]) -> None:
    """On either loop: their transports are of different classes."""
    run(_counted())


async def _counted() -> None:
    async with answering(OK) as (url, asked):
        requests = [request(f"{url}/{name}?of=all", {"X-Name": name}) for name in "ab"]
        took = await seconds_each(url, requests)
        assert len(took) == 2 and all(seconds > 0 for seconds in took)
        assert [line.split(b"\r\n")[0] for line in asked] == [
            b"GET /a?of=all HTTP/1.1",
            b"GET /b?of=all HTTP/1.1",
        ]
        assert await per_second(url, requests, status=200, connections=3, seconds=0.05) > 0


async def test_load_refuses_an_answer_of_another_kind() -> None:
    """A server that answers errors would be very fast."""
    async with answering(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n") as (url, _):
        with pytest.raises(RuntimeError, match="429 Too Many"):
            await per_second(url, [request(url, {})], status=200, connections=2, seconds=5)


def test_a_body_is_read_to_its_end_however_its_length_is_spelt() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\nCONTENT-Length: 17\r\netag: x") == 17
    assert content_length(b"HTTP/1.1 304 Not Modified\r\netag: content-length:9") == 0


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [report.percentile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 3.0, 5.0, 5.0]
    with pytest.raises(ValueError, match="no values"):
        report.percentile([], 0.5)


def test_a_ratio_is_the_median_of_rounds_and_not_of_medians() -> None:
    figure = report.compared("a", [1, 2, 30], [1, 4, 10], say=str, against="b", goal="> 1")
    assert (figure.ours, figure.anchor) == ("2", "4, b")
    assert (figure.ratio, figure.spread) == (1.0, (0.5, 3.0))


def test_the_peak_of_another_process_is_seen_after_it_has_passed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.readline(){HOLDS}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        with memory.peak(process.pid) as found:
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"done\n"
        with memory.peak(process.pid) as nothing:
            pass
        process.stdin.close()
    assert 95 * MIB < found.more_bytes < 200 * MIB
    assert nothing.more_bytes < 10 * MIB


def test_processor_time_is_that_of_children_too_also_when_they_are_gone() -> None:
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURNS!r}])\nprint(flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}\nsys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        alone = psutil.Process(process.pid).cpu_times()
        assert tree_seconds(process.pid) >= 0.3 + alone.user
        process.stdin.close()
    assert tree_seconds(process.pid) == 0.0


def test_the_product_and_the_script_fit_the_same(tmp_path: Path) -> None:
    frame = fits.table(300)
    scores = fits.fit(frame, fits.MIXED["logistic_regression"], tmp_path / "script.pkl")
    columns = {name: "numeric" for name in frame if name != fits.TARGET}
    table = mixed_table.write(frame, tmp_path / "table.arrow")
    plan = mixed_table.plan(frame, fits.TARGET, TaskType.CLASSIFICATION, roles=columns)
    outcome = steps.mixed(table=str(table), plan=plan, model_name="logistic_regression", scratch=tmp_path)
    assert outcome.cv_mean == scores["cv_mean"]
    assert outcome.metrics["accuracy"] == scores["accuracy"]
    assert (tmp_path / MODEL_FILE).stat().st_size == (tmp_path / "script.pkl").stat().st_size


def test_a_large_file_has_a_mebibyte_a_row(tmp_path: Path) -> None:
    frame = fits.table(4)
    plan = mixed_table.plan(fits.table(40), fits.TARGET, TaskType.CLASSIFICATION, rows=len(frame))
    steps.large(plan=plan, scratch=tmp_path, progress=lambda share, words: None)
    assert (tmp_path / MODEL_FILE).stat().st_size == 4 * MIB


def test_eight_equal_fits_are_shared_evenly_and_known_to_the_product() -> None:
    assert all(len(fits.EQUAL) % size == 0 for size in (1, 2, 4))
    assert {*fits.EQUAL, *fits.MIXED} <= MODELS[TaskType.CLASSIFICATION].keys()
