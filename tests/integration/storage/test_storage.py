"""Buckets, bodies, copies, listings: the store against a real S3 server."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageCorrupt, StorageUnavailable, TooLarge
from shared.settings import S3
from shared.storage import PROBE_PREFIX, ObjectExists, ObjectMissing, Store, content_disposition, open_store
from tests.integration.storage.objects import (
    ANY_AGE,
    BINARY,
    MIB,
    PARTS,
    SMALL,
    cut,
    is_empty,
    keys,
    read,
    sha256,
)


async def test_buckets_are_made_once(s3: S3) -> None:
    async with open_store(s3) as store:
        with pytest.raises(StorageUnavailable, match="missing"):
            await store.check()
        made = await store.ensure_buckets()
        assert set(made) == {store.datasets, store.artifacts, store.bundles, store.models}
        assert await store.ensure_buckets() == ()
        await store.check()


async def test_a_missing_bucket_is_said(s3: S3) -> None:
    async with open_store(s3) as store:
        with pytest.raises(StorageUnavailable, match="no bucket"):
            await store.put_bytes(store.datasets, "a", b"x", content_type=BINARY)


async def test_the_probe_leaves_nothing_and_runs_once(store: Store) -> None:
    first, second = await asyncio.gather(store.probe(), store.probe())
    assert first is second
    assert await keys(store, store.artifacts, PROBE_PREFIX) == []
    assert await is_empty(store, store.artifacts)


# --- putting and getting ------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", SMALL, PARTS[: 8 * MIB], PARTS[: 8 * MIB + 1], PARTS])
async def test_what_is_put_comes_back(store: Store, tmp_path: Path, data: bytes) -> None:
    stored = await store.put_stream(
        store.datasets, "u/f/table", cut(data, 3_000_000, 1, 70_000), content_type="text/csv"
    )
    assert (stored.size_bytes, stored.sha256) == (len(data), sha256(data))
    head = await store.head(store.datasets, "u/f/table")
    assert head is not None
    assert (head.size_bytes, head.content_type) == (len(data), "text/csv")
    assert stored.crc32 == zlib.crc32(data)
    assert stored.etag == head.etag
    fetched = await store.get_file(store.datasets, "u/f/table", tmp_path / "table", sha256=stored.sha256)
    assert (fetched.size_bytes, fetched.sha256) == (len(data), stored.sha256)
    assert (tmp_path / "table").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


async def test_a_file_of_forty_mib_goes_up_in_parts(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(PARTS * 2)
    stored = await store.put_file(store.artifacts, "u/t/m/1/model.pkl", path, content_type=BINARY)
    assert (stored.size_bytes, stored.sha256) == (len(PARTS) * 2, sha256(PARTS * 2))
    head = await store.head(store.artifacts, "u/t/m/1/model.pkl")
    assert head is not None
    assert head.etag.endswith("-6")
    assert await store.abort_stale_uploads(store.artifacts, ANY_AGE) == 0


async def test_one_chunk_larger_than_a_part(store: Store) -> None:
    stored = await store.put_bytes(store.artifacts, "u/big", PARTS, content_type=BINARY)
    assert stored.sha256 == sha256(PARTS)
    assert await read(store, store.artifacts, "u/big") == PARTS


async def test_ranges(store: Store) -> None:
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY)
    assert await read(store, store.artifacts, "u/x", 10) == SMALL[10:]
    assert await read(store, store.artifacts, "u/x", 10, 20) == SMALL[10:20]
    assert await read(store, store.artifacts, "u/x", 0, len(SMALL)) == SMALL
    assert await read(store, store.artifacts, "u/x", 7, 7) == b""


async def test_what_is_missing_is_said(store: Store, tmp_path: Path) -> None:
    assert await store.head(store.artifacts, "u/none") is None
    with pytest.raises(ObjectMissing):
        await read(store, store.artifacts, "u/none")
    with pytest.raises(ObjectMissing):
        await store.get_file(store.artifacts, "u/none", tmp_path / "none")
    with pytest.raises(ObjectMissing):
        await store.copy(
            store.artifacts, "u/none", store.models, "u/m", filename="m", content_type=BINARY, sha256="0" * 64
        )
    assert list(tmp_path.iterdir()) == []
    await store.delete(store.artifacts, "u/none")


async def test_a_file_of_another_digest_is_not_handed_over(store: Store, tmp_path: Path) -> None:
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY)
    (tmp_path / "x").write_bytes(b"before")
    with pytest.raises(StorageCorrupt):
        await store.get_file(store.artifacts, "u/x", tmp_path / "x", sha256="0" * 64)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("limit", [len(SMALL) - 1, 9 * MIB])
async def test_over_the_limit_nothing_is_kept(store: Store, limit: int) -> None:
    data = SMALL if limit < MIB else PARTS
    with pytest.raises(TooLarge):
        await store.put_stream(
            store.datasets, "u/f", cut(data, 100_000), content_type=BINARY, max_bytes=limit
        )
    assert await is_empty(store, store.datasets)
    exact = await store.put_stream(
        store.datasets, "u/f", cut(data[:limit], 100_000), content_type=BINARY, max_bytes=limit
    )
    assert exact.size_bytes == limit


@pytest.mark.parametrize("before", [1000, 20 * MIB])
async def test_a_source_that_fails_leaves_nothing(store: Store, before: int) -> None:
    async def failing() -> AsyncIterator[bytes]:
        async for chunk in cut(PARTS[:before], MIB):
            yield chunk
        raise ConnectionAbortedError("the client went away")

    with pytest.raises(ConnectionAbortedError):
        await store.put_stream(store.datasets, "u/f", failing(), content_type=BINARY)
    assert await is_empty(store, store.datasets)


@pytest.mark.parametrize("before", [1000, 20 * MIB])
async def test_a_cancelled_put_leaves_nothing(store: Store, before: int) -> None:
    sent, closed = asyncio.Event(), asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        try:
            async for chunk in cut(PARTS[:before], MIB):
                yield chunk
            sent.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    put = asyncio.create_task(store.put_stream(store.datasets, "u/f", stuck(), content_type=BINARY))
    await asyncio.wait_for(sent.wait(), 60)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert closed.is_set()
    assert await is_empty(store, store.datasets)


async def test_an_exclusive_put_does_not_overwrite(store: Store) -> None:
    for data in (SMALL, PARTS):
        key = f"u/{len(data)}"
        await store.put_stream(store.models, key, cut(data, MIB), content_type=BINARY, exclusive=True)
        with pytest.raises(ObjectExists):
            await store.put_stream(store.models, key, cut(b"other", 1), content_type=BINARY, exclusive=True)
        assert await read(store, store.models, key) == data


# --- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_call", [True, False])
@pytest.mark.parametrize("data", [b"", SMALL, PARTS])
async def test_a_copy_has_the_bytes_and_its_own_headers(
    store: Store, raw: Any, data: bytes, one_call: bool
) -> None:
    if not one_call:
        store.copy_one_call_bytes, store.copy_part_bytes = -1, 6 * MIB
    source = await store.put_bytes(store.artifacts, "u/a b+ü", data, content_type=BINARY, filename="source")
    copied = await store.copy(
        store.artifacts,
        "u/a b+ü",
        store.models,
        "u/copy.pkl",
        filename="copie été.pkl",
        content_type="application/zip",
        sha256=source.sha256,
    )
    assert (copied.size_bytes, copied.sha256) == (source.size_bytes, source.sha256)
    assert await read(store, store.models, "u/copy.pkl") == data
    head = await raw.head_object(Bucket=store.models, Key="u/copy.pkl")
    assert head["ETag"].strip('"') == copied.etag
    assert head["ContentType"] == "application/zip"
    assert head["ContentDisposition"] == content_disposition("copie été.pkl")


async def test_a_copy_does_not_overwrite_unless_told_to(store: Store) -> None:
    new = await store.put_bytes(store.artifacts, "u/new", b"new", content_type=BINARY)
    await store.put_bytes(store.models, "u/m", b"old", content_type=BINARY)
    how: Any = {"filename": "m", "content_type": BINARY, "sha256": new.sha256}
    with pytest.raises(ObjectExists):
        await store.copy(store.artifacts, "u/new", store.models, "u/m", **how)
    assert await read(store, store.models, "u/m") == b"old"
    await store.copy(store.artifacts, "u/new", store.models, "u/m", **how, exclusive=False)
    assert await read(store, store.models, "u/m") == b"new"


async def test_a_copy_of_something_else_is_refused_and_removed(store: Store) -> None:
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY)
    with pytest.raises(StorageCorrupt):
        await store.copy(
            store.artifacts, "u/x", store.models, "u/m", filename="m", content_type=BINARY, sha256="0" * 64
        )
    assert await is_empty(store, store.models)


# --- listing and deleting -----------------------------------------------------------------------


async def test_deleting_a_prefix_pages_and_spares_its_neighbours(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.store.LIST_PAGE", 10)
    names = [f"u/1/{number:04}" for number in range(25)]
    for key in names:
        await store.put_bytes(store.artifacts, key, b"x", content_type=BINARY)
    await store.put_bytes(store.artifacts, "u/10", b"x", content_type=BINARY)
    assert await keys(store, store.artifacts, "u/1/") == names
    assert await store.delete_prefix(store.artifacts, "u/1/") == len(names)
    assert await keys(store, store.artifacts) == ["u/10"]
    assert await store.delete_prefix(store.artifacts, "u/1/") == 0


@pytest.mark.parametrize("prefix", ["", "/", "u", "u/1"])
async def test_a_prefix_that_says_too_much_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(ValueError, match="slash"):
        await store.delete_prefix(store.artifacts, prefix)


async def test_only_stale_uploads_are_dropped(store: Store, raw: Any) -> None:
    upload = await raw.create_multipart_upload(Bucket=store.datasets, Key="u/f")
    await raw.upload_part(
        Bucket=store.datasets, Key="u/f", UploadId=upload["UploadId"], PartNumber=1, Body=b"x"
    )
    assert await store.abort_stale_uploads(store.datasets, 3600) == 0
    assert await store.abort_stale_uploads(store.datasets, ANY_AGE) == 1
    assert await store.abort_stale_uploads(store.datasets, ANY_AGE) == 0
