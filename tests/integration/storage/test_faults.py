"""The store behind a proxy that cuts, corrupts, loses and refuses: retried, noticed, nothing left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from shared.errors import StorageCorrupt, StorageUnavailable
from tests.integration.faulty_proxy import (
    Answer,
    CorruptAnswer,
    CorruptUpload,
    CutAnswer,
    CutUpload,
    Fault,
    LoseAnswer,
    Refuse,
    Request,
    Rule,
    Stall,
)
from tests.integration.storage.conftest import Faulty
from tests.integration.storage.objects import ANY_AGE, BINARY, MIB, PARTS, SMALL, cut, is_empty, read, sha256


def on(method: str, fault: Fault, times: int = 10**6) -> Rule:
    """The fault for the first `times` requests of this method and target."""

    def rule(request: Request) -> Fault | None:
        return fault if request.method == method and request.number <= times else None

    return rule


@pytest.mark.parametrize("fault", [Answer(500), Answer(503), Refuse(), CutUpload(50_000), LoseAnswer()])
@pytest.mark.parametrize("data", [SMALL, PARTS])
async def test_a_put_that_keeps_failing_leaves_nothing(faulty: Faulty, data: bytes, fault: Fault) -> None:
    store = faulty.breaks(on("PUT", fault))
    with pytest.raises(StorageUnavailable):
        await store.put_stream(store.datasets, "u/f", cut(data, MIB), content_type=BINARY)
    assert faulty.count("PUT") >= 3
    assert await is_empty(faulty.is_sound(), store.datasets)


@pytest.mark.parametrize(
    "fault", [Answer(500), Answer(503), Refuse(), CutUpload(50_000), LoseAnswer(), CorruptUpload()]
)
@pytest.mark.parametrize("data", [SMALL, PARTS])
async def test_a_put_that_fails_once_is_tried_again(faulty: Faulty, data: bytes, fault: Fault) -> None:
    store = faulty.breaks(on("PUT", fault, times=1))
    stored = await store.put_stream(store.datasets, "u/f", cut(data, MIB), content_type=BINARY)
    assert stored.sha256 == sha256(data)
    assert await read(store, store.datasets, "u/f") == data
    assert await store.abort_stale_uploads(store.datasets, ANY_AGE) == 0


@pytest.mark.parametrize("data", [SMALL, PARTS])
async def test_bytes_that_change_on_their_way_up_are_noticed(faulty: Faulty, data: bytes) -> None:
    store = faulty.breaks(on("PUT", CorruptUpload()))
    with pytest.raises(StorageCorrupt):
        await store.put_stream(store.datasets, "u/f", cut(data, MIB), content_type=BINARY)
    assert await is_empty(faulty.is_sound(), store.datasets)


async def test_the_answer_to_the_last_call_may_be_lost(faulty: Faulty) -> None:
    """The upload is then gone at the second try, for it was completed at the first."""
    store = faulty.breaks(
        lambda r: LoseAnswer() if r.method == "POST" and "uploadId=" in r.target and r.number == 1 else None
    )
    stored = await store.put_stream(store.datasets, "u/f", cut(PARTS, MIB), content_type=BINARY)
    assert stored.sha256 == sha256(PARTS)
    assert await read(store, store.datasets, "u/f") == PARTS


async def test_an_upload_that_cannot_be_completed_leaves_nothing(faulty: Faulty) -> None:
    store = faulty.breaks(lambda r: Answer(500) if r.method == "POST" and "uploadId=" in r.target else None)
    with pytest.raises(StorageUnavailable):
        await store.put_stream(store.datasets, "u/f", cut(PARTS, MIB), content_type=BINARY)
    assert await is_empty(faulty.is_sound(), store.datasets)


async def test_an_upload_swept_away_meanwhile_is_not_taken_for_stored(faulty: Faulty) -> None:
    store = faulty.store

    async def swept() -> AsyncIterator[bytes]:
        yield PARTS
        assert await store.abort_stale_uploads(store.datasets, ANY_AGE) == 1
        yield PARTS

    with pytest.raises(StorageUnavailable):
        await store.put_stream(store.datasets, "u/f", swept(), content_type=BINARY)
    assert await is_empty(store, store.datasets)


async def test_what_an_absent_store_could_not_clean_up_is_swept_later(faulty: Faulty) -> None:
    store = faulty.breaks(lambda r: Answer(500) if r.is_part or r.method == "DELETE" else None)
    with pytest.raises(StorageUnavailable):
        await store.put_stream(store.datasets, "u/f", cut(PARTS, MIB), content_type=BINARY)
    assert await faulty.is_sound().abort_stale_uploads(store.datasets, ANY_AGE) == 1


async def test_a_cancellation_in_mid_part_leaves_nothing(faulty: Faulty) -> None:
    reached = asyncio.Event()

    def rule(request: Request) -> Fault | None:
        if not request.is_part:
            return None
        reached.set()
        return Stall()

    store = faulty.breaks(rule)
    put = asyncio.create_task(store.put_stream(store.datasets, "u/f", cut(PARTS, MIB), content_type=BINARY))
    await asyncio.wait_for(reached.wait(), 60)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert await is_empty(faulty.is_sound(), store.datasets)


async def test_a_download_goes_on_where_it_was_cut(faulty: Faulty, tmp_path: Path) -> None:
    store = faulty.is_sound()
    stored = await store.put_stream(store.datasets, "u/f", cut(PARTS, MIB), content_type=BINARY)
    faulty.breaks(on("GET", CutAnswer(7 * MIB)))
    await store.get_file(store.datasets, "u/f", tmp_path / "f", sha256=stored.sha256)
    assert faulty.count("GET") >= 3
    assert (tmp_path / "f").read_bytes() == PARTS


@pytest.mark.parametrize("fault", [CutAnswer(0), Answer(500), Refuse()])
async def test_a_download_that_gets_nowhere_ends(faulty: Faulty, tmp_path: Path, fault: Fault) -> None:
    store = faulty.is_sound()
    await store.put_bytes(store.datasets, "u/f", SMALL, content_type=BINARY)
    faulty.breaks(on("GET", fault))
    with pytest.raises(StorageUnavailable):
        await store.get_file(store.datasets, "u/f", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


async def test_bytes_that_change_on_their_way_down_are_noticed(faulty: Faulty, tmp_path: Path) -> None:
    store = faulty.is_sound()
    stored = await store.put_bytes(store.datasets, "u/f", SMALL, content_type=BINARY)
    faulty.breaks(on("GET", CorruptAnswer()))
    with pytest.raises(StorageCorrupt):
        await store.get_file(store.datasets, "u/f", tmp_path / "f", sha256=stored.sha256)
    assert list(tmp_path.iterdir()) == []


async def test_a_copy_that_is_cut_leaves_nothing(faulty: Faulty) -> None:
    store = faulty.is_sound()
    source = await store.put_stream(store.artifacts, "u/f", cut(PARTS, MIB), content_type=BINARY)
    # a store that copies by itself is sent no body that could be cut
    faulty.breaks(on("PUT", LoseAnswer() if (await store.probe()).copy else CutUpload(MIB)))
    with pytest.raises(StorageUnavailable):
        await store.copy(
            store.artifacts,
            "u/f",
            store.models,
            "u/m",
            filename="m",
            content_type=BINARY,
            sha256=source.sha256,
        )
    assert await is_empty(faulty.is_sound(), store.models)


async def test_an_object_replaced_in_mid_download_is_noticed(faulty: Faulty) -> None:
    store = faulty.is_sound()
    await store.put_bytes(store.datasets, "u/f", PARTS, content_type=BINARY)
    faulty.breaks(on("GET", CutAnswer(3 * MIB), times=1))
    async with aclosing(store.stream(store.datasets, "u/f")) as chunks:
        await anext(chunks)
        await store.put_bytes(store.datasets, "u/f", PARTS[::-1], content_type=BINARY)
        with pytest.raises(StorageCorrupt, match="replaced"):
            _ = [chunk async for chunk in chunks]


async def test_health_answers_soon_whatever_the_store_does(faulty: Faulty) -> None:
    for fault in (Stall(), Refuse(), Answer(500)):
        store = faulty.breaks(lambda _, fault=fault: fault)  # type: ignore[misc]
        before = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await store.check()
        assert time.monotonic() - before < 5
    await faulty.is_sound().check()
