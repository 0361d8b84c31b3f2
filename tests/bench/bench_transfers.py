"""Large files in and out: an upload, a download through the API and the ZIP of everything, each beside the
store's own speed in the same run and in turn (`raw_store.py`), and the memory that each takes.

The files are models as trainers leave them, of bytes that nothing can squeeze, so that sizes, digests,
checksums and signatures are those that a run records. `GB=5` (BENCH_GB) is the size of the large round;
S3_TEST_ENDPOINT_URL, S3_TEST_ACCESS_KEY_ID and S3_TEST_SECRET_ACCESS_KEY name another store than the embedded
one. It needs three times the size on the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import asyncpg
import uvloop
from msgspec import Struct

from shared.settings import S3, load
from shared.storage import bundle_key, dataset_key, model_key
from tests.bench import memory, product, raw_store, report
from tests.bench.product import Product
from tests.bench.raw_store import RawStore, fetched
from tests.bench.report import Figure, compared
from tests.bench.runs import BUDGET_S, ended
from tests.e2e.person import Person
from tests.e2e.tables import Table

TITLE = "Large files"
MIB = 2**20
SMALL_MIB = 256
LARGE_MIB = int(float(os.environ.get("BENCH_GB") or 1) * 1000**3 / MIB)
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 5)
LARGE_ROUNDS = max(1, ROUNDS // 2)
MODELS = ["logistic_regression", "random_forest", "naive_bayes"]
"""And `best_model`, which is one of them once more: the ZIP has four members of a quarter of the size."""
MEMBERS = len(MODELS) + 1
DISK_TIMES = 3
STORE = "S3_TEST_"
BLOCK = os.urandom(MIB)
BOUNDARY = "trainyard-bench"

SETTLED = """
INSERT INTO trainyard.conversions (candidate_id, user_id, format, status, final, error)
SELECT id, user_id, 'onnx', 'failed', true, 'it is no model' FROM trainyard.candidates WHERE task_id = $1
"""
"""What the run left only looks like models: the ZIP does not wait for what they are as ONNX."""


class Rates(Struct):
    """Bytes a second, a pair a round, and the most memory that ours took above what it began with."""

    ours: list[float]
    raw: list[float]
    more_bytes: int = 0


class Bench(Struct):
    stack: Product
    person: Person
    http: aiohttp.ClientSession
    raw: RawStore
    s3: S3
    owner: asyncpg.Connection

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": self.person.http.headers["Authorization"]}


def measure() -> list[str]:
    return uvloop.run(_measure())


async def _measure() -> list[str]:
    _check_disk()
    elsewhere = {
        f"S3_{name.removeprefix(STORE)}": value
        for name, value in os.environ.items()
        if name.startswith(STORE)
    }
    most = str(2 * LARGE_MIB * MIB)
    limits = {"DOWNLOADS": "proxy", "MAX_UPLOAD_BYTES": most, "MAX_STORED_BYTES": str(20 * LARGE_MIB * MIB)}
    with product.running("api", "packager-1", store=elsewhere, **limits) as stack:
        async with AsyncExitStack() as opened:
            s3 = load(S3, stack.env)
            bench = Bench(
                stack,
                Person(stack.url, "transfers@example.org"),
                await opened.enter_async_context(
                    aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=600))
                ),
                await opened.enter_async_context(raw_store.opened(s3)),
                s3,
                await asyncpg.connect(stack.env["DATABASE_URL"]),
            )
            figures, said = [], []
            for size_mib, rounds in ((SMALL_MIB, ROUNDS), (LARGE_MIB, LARGE_ROUNDS)):
                found = await _of_size(bench, size_mib, rounds)
                figures += [_figure(what, size_mib, rates) for what, rates in found.items()]
                said += [
                    (f"{what}, {size_mib:,} MiB", f"{rates.more_bytes / MIB:,.0f} MiB", GOALS[what][1])
                    for what, rates in found.items()
                ]
            bench.person.close()
            await bench.owner.close()
    return [
        f"The store: {'another' if elsewhere else 'the embedded one'}.",
        "",
        *report.ratios(figures),
        "",
        *report.table(("what", "more memory, at its peak", "goal"), said),
    ]


GOALS = {
    "upload through the API": (">= 0.9", "constant"),
    "download through the API": (">= 0.9", "constant"),
    "ZIP of everything": (">= 0.9", "<= 64 MiB"),
}
ANCHORS = {
    "upload through the API": "straight into the store",
    "download through the API": "straight from the store",
    "ZIP of everything": "copied from the store to the store",
}


async def _of_size(bench: Bench, size_mib: int, rounds: int) -> dict[str, Rates]:
    uploads = await _rates(
        bench, "api", rounds, lambda: _upload(bench, size_mib), lambda: _put(bench, size_mib)
    )
    task_id = await _run(bench, size_mib // MEMBERS)
    downloads = await _rates(
        bench, "api", rounds, lambda: _download(bench, task_id), lambda: _read(bench, task_id)
    )
    zips = await _rates(
        bench, "packager-1", rounds, lambda: _zip(bench, task_id), lambda: _copy(bench, task_id)
    )
    bench.person.http.delete(f"/ml/tasks/{task_id}").raise_for_status()
    return dict(zip(GOALS, (uploads, downloads, zips), strict=True))


async def _rates(
    bench: Bench,
    name: str,
    rounds: int,
    ours: Callable[[], Awaitable[float]],
    raw: Callable[[], Awaitable[float]],
) -> Rates:
    """`ours` and `raw` answer bytes a second; the process `name` is the one whose memory counts."""
    rates = Rates([], [])
    await ours()  # warms up: what is held from then on is not this transfer's
    for _ in range(rounds):
        with memory.peak(bench.stack.pid(name)) as peak:
            rates.ours.append(await ours())
        rates.more_bytes = max(rates.more_bytes, peak.more_bytes)
        rates.raw.append(await raw())
    return rates


# --- one transfer each, in bytes a second --------------------------------------------------------


async def _upload(bench: Bench, size_mib: int) -> float:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="t.csv"\r\n\r\n'.encode()
    foot = f"\r\n--{BOUNDARY}--\r\n".encode()

    async def body() -> AsyncIterator[bytes]:
        yield head
        async for block in _blocks(size_mib):
            yield block
        yield foot

    headers = bench.token | {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + size_mib * MIB + len(foot)),
    }
    began = time.perf_counter()
    async with bench.http.post(f"{bench.stack.url}/files", data=body(), headers=headers) as answer:
        answer.raise_for_status()
        file_id = (await answer.json())["file_id"]
    rate = size_mib * MIB / (time.perf_counter() - began)
    bench.person.http.delete(f"/files/{file_id}").raise_for_status()
    await bench.raw.delete(bench.s3.s3_bucket_datasets, dataset_key(bench.person.id, file_id))
    return rate


async def _put(bench: Bench, size_mib: int) -> float:
    began = time.perf_counter()
    await bench.raw.put(bench.s3.s3_bucket_datasets, "raw", _blocks(size_mib))
    rate = size_mib * MIB / (time.perf_counter() - began)
    await bench.raw.delete(bench.s3.s3_bucket_datasets, "raw")
    return rate


async def _download(bench: Bench, task_id: str) -> float:
    began, size = time.perf_counter(), 0
    url = f"{bench.stack.url}/ml/download-model/{task_id}/{MODELS[0]}"
    async for chunk in fetched(bench.http, url, **bench.token):
        size += len(chunk)
    return size / (time.perf_counter() - began)


async def _read(bench: Bench, task_id: str) -> float:
    key = model_key(bench.person.id, task_id, MODELS[0], 1)
    began = time.perf_counter()
    size = await bench.raw.read(bench.s3.s3_bucket_artifacts, key)
    return size / (time.perf_counter() - began)


async def _zip(bench: Bench, task_id: str) -> float:
    began = time.perf_counter()
    url = f"{bench.stack.url}/ml/download-all-models/{task_id}"
    headers = bench.token | {"Prefer": "wait=60", "Accept": "application/json"}
    while True:
        async with bench.http.get(url, headers=headers) as answer:
            answer.raise_for_status()
            if answer.status == 200:
                size = (await answer.json())["size_bytes"]
                break
    rate = float(size / (time.perf_counter() - began))
    # as if it had never been asked for
    attempt = await bench.owner.fetchval(
        "DELETE FROM trainyard.bundles WHERE task_id = $1 RETURNING attempt", uuid.UUID(task_id)
    )
    await bench.raw.delete(bench.s3.s3_bucket_bundles, bundle_key(bench.person.id, task_id, attempt))
    return rate


async def _copy(bench: Bench, task_id: str) -> float:
    """The members' bytes, one after another, into one object."""
    size = 0

    async def members() -> AsyncIterator[bytes]:
        nonlocal size
        for slug in (*MODELS, MODELS[0]):
            key = model_key(bench.person.id, task_id, slug, 1)
            async for chunk in bench.raw.chunks(bench.s3.s3_bucket_artifacts, key):
                size += len(chunk)
                yield chunk

    began = time.perf_counter()
    await bench.raw.put(bench.s3.s3_bucket_bundles, "raw", members())
    rate = size / (time.perf_counter() - began)
    await bench.raw.delete(bench.s3.s3_bucket_bundles, "raw")
    return rate


# --- what they need ------------------------------------------------------------------------------


async def _run(bench: Bench, model_mib: int) -> str:
    """A run whose models are files of this size; its trainer is gone afterwards."""
    bench.stack.start("trainer-1", module=["tests.bench.work.trainer", "large"])
    rows = "".join(f"{i % 7},{i % 2 + i / model_mib},{'ab'[i % 2]}\n" for i in range(model_mib))
    file_id = bench.person.upload(Table("rows.csv", f"noise,x,kind\n{rows}".encode()))["file_id"]
    answer = bench.person.train(file_id, "kind", models=MODELS, time_budget_s=BUDGET_S)
    ended(bench.person, answer["task_id"])
    await bench.owner.execute(SETTLED, uuid.UUID(answer["task_id"]))
    bench.stack.stop("trainer-1")
    return str(answer["task_id"])


async def _blocks(size_mib: int) -> AsyncIterator[bytes]:
    for _ in range(size_mib):
        yield BLOCK


def _check_disk() -> None:
    free, needed = shutil.disk_usage(tempfile.gettempdir()).free, int(DISK_TIMES * LARGE_MIB * MIB)
    if free < needed:
        where = tempfile.gettempdir()
        raise RuntimeError(f"{needed / 1e9:.1f} GB are needed in {where}, {free / 1e9:.1f} are free")


def _figure(what: str, size_mib: int, rates: Rates) -> Figure:
    return compared(
        what,
        rates.ours,
        rates.raw,
        say=lambda rate: f"{rate / 1e6:,.0f} MB/s",
        against=ANCHORS[what],
        goal=GOALS[what][0],
        note=f"{size_mib:,} MiB" if what != "download through the API" else f"{size_mib // MEMBERS:,} MiB",
    )


if __name__ == "__main__":
    print("\n".join(measure()))
