"""Objects put together from bytes and from objects: what is copied by the store, what passes through here,
and that nothing is taken for what it is not."""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import structlog

from services.packager.bundle import Entry, zip_contents
from shared.errors import StorageCorrupt, StorageUnavailable
from shared.settings import S3
from shared.storage import Content, ObjectMissing, ObjectRef, Store, open_store
from tests.integration.storage.copying_store import CopyingStore, copying_store
from tests.integration.storage.objects import ANY_AGE, AT, BINARY, MIB, cut, is_empty, keys, read, sha256

LARGE = random.Random(3).randbytes(12 * MIB + 11)
MEDIUM = random.Random(4).randbytes(7 * MIB)
SMALL = random.Random(5).randbytes(100_000)
PASSES_OF_ONE = 5 * MIB
"""The most of a copied object that passes through here: the smallest part that S3 takes."""


async def stored(store: Store, data: bytes, key: str) -> ObjectRef:
    put = await store.put_stream(store.artifacts, key, cut(data, MIB), content_type=BINARY)
    return ObjectRef(bucket=store.artifacts, key=key, size_bytes=len(data), sha256=put.sha256, etag=put.etag)


async def each(*contents: Content) -> AsyncIterator[Content]:
    for content in contents:
        yield content


async def put(store: Store, *contents: Content) -> Any:
    return await store.put_contents(store.bundles, "u/all", each(*contents), content_type="application/zip")


# --- on whatever store there is -----------------------------------------------------------------


@pytest.mark.parametrize(
    "layout",
    ["", "b", "s", "L", "M", "bL", "LL", "bLbLb", "bMbMb", "MMM", "LbM", "sLs", "bsbsb"],
    ids=lambda layout: layout or "nothing",
)
async def test_contents_come_one_after_another(store: Store, layout: str) -> None:
    """b: bytes, s, M, L: an object of 100 kB, 7 MiB, 12 MiB."""
    datas = {"b": b"between", "s": SMALL, "M": MEDIUM, "L": LARGE}
    refs = {kind: await stored(store, datas[kind], f"u/{kind}") for kind in set(layout) - {"b"}}
    expected = b"".join(datas[kind] for kind in layout)
    whole = await put(store, *(refs.get(kind, datas[kind]) for kind in layout))
    assert await read(store, store.bundles, "u/all") == expected
    assert whole.size_bytes == len(expected)
    assert whole.sha256 in (None, sha256(expected))
    if not (await store.probe()).part_copy:
        assert whole.sha256 is not None
    assert await store.abort_stale_uploads(store.bundles, ANY_AGE) == 0


@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_an_object_that_is_another_by_now_is_refused(store: Store, data: bytes) -> None:
    ref = await stored(store, data, "u/x")
    await store.put_stream(store.artifacts, "u/x", cut(data[::-1], MIB), content_type=BINARY)
    with pytest.raises(StorageCorrupt) as raised:
        await put(store, b"before", ref)
    assert raised.value.context["key"] == "u/x"
    assert await is_empty(store, store.bundles)


async def test_an_object_that_is_gone_is_said(store: Store) -> None:
    ref = await stored(store, LARGE, "u/x")
    await store.delete(store.artifacts, "u/x")
    with pytest.raises(ObjectMissing) as raised:
        await put(store, b"before", ref)
    assert raised.value.context["key"] == "u/x"
    assert await is_empty(store, store.bundles)


async def test_an_object_put_anew_with_the_same_bytes_is_taken(store: Store) -> None:
    """As after a restored backup: what the store calls it by is no longer known, its digest is."""
    ref = await stored(store, LARGE, "u/x")
    for etag in (None, "another"):
        await put(store, b"before", msgspec.structs.replace(ref, etag=etag))
        assert await read(store, store.bundles, "u/all") == b"before" + LARGE


async def test_a_zip_of_stored_objects_is_a_zip(store: Store) -> None:
    members = {"large.pkl": LARGE, "medium.onnx": MEDIUM, "small.pkl": SMALL, "a.csv": b"a,b\n" * 999}

    async def entries() -> AsyncIterator[Entry[ObjectRef]]:
        for name, data in members.items():
            ref = await stored(store, data, f"u/{name}")
            yield Entry(
                name=name,
                size=len(data),
                mtime=AT,
                sha256=ref.sha256,
                crc32=zlib.crc32(data),
                source=ref,
                chunks=store.stream(ref.bucket, ref.key),
            )

    told: list[int] = []

    async def tell(size: int) -> None:
        told.append(size)

    whole = await store.put_contents(
        store.bundles, "u/zip", zip_contents(entries()), content_type="application/zip", told=tell
    )
    archive = zipfile.ZipFile(io.BytesIO(await read(store, store.bundles, "u/zip")))
    assert archive.testzip() is None
    assert {name: archive.read(name) for name in members} == members
    assert told == sorted(told)
    assert told[-1] == whole.size_bytes


# --- where the store copies ---------------------------------------------------------------------


@pytest.fixture
async def copying(embedded: S3, raw_embedded: Any) -> AsyncIterator[tuple[CopyingStore, Store]]:
    async with copying_store(embedded.s3_endpoint_url, raw_embedded) as server:
        async with open_store(msgspec.structs.replace(embedded, s3_endpoint_url=server.url)) as store:
            await store.ensure_buckets()
            yield server, store


async def test_large_objects_never_pass_through_here_as_a_whole(
    copying: tuple[CopyingStore, Store],
) -> None:
    server, store = copying
    assert (await store.probe()).part_copy
    large = [await stored(store, LARGE, f"u/{number}") for number in range(3)]
    medium = await stored(store, MEDIUM, "u/m")
    server.begins()
    contents = [b"header", large[0], b"header", medium, b"header", large[1], large[2], b"directory"]
    whole = await put(store, *contents)
    assert whole.sha256 is None  # nobody has seen all of it
    expected = b"header" + LARGE + b"header" + MEDIUM + b"header" + LARGE + LARGE + b"directory"
    assert server.copied >= 3 * (len(LARGE) - PASSES_OF_ONE)
    assert server.received <= 3 * PASSES_OF_ONE + len(MEDIUM) + MIB
    assert server.sent <= 3 * PASSES_OF_ONE + len(MEDIUM) + MIB
    assert await read(store, store.bundles, "u/all") == expected
    assert whole.size_bytes == len(expected)


async def test_what_came_before_counts_so_that_less_is_borrowed(copying: tuple[CopyingStore, Store]) -> None:
    """Five MiB of small members and headers before it, and of a large object nothing passes."""
    server, store = copying
    large = await stored(store, LARGE, "u/l")
    await store.probe()
    server.begins()
    await put(store, MEDIUM, large, b"end")
    assert server.copied == len(LARGE)
    assert server.sent < MIB
    assert await read(store, store.bundles, "u/all") == MEDIUM + LARGE + b"end"


async def test_an_object_replaced_between_the_look_and_the_copy_is_refused(
    copying: tuple[CopyingStore, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = copying
    head = store.head

    async def looked(bucket: str, key: str) -> Any:
        found = await head(bucket, key)
        await store.put_stream(store.artifacts, "u/x", cut(LARGE[::-1], MIB), content_type=BINARY)
        return found

    monkeypatch.setattr(store, "head", looked)
    for before in (b"", MEDIUM):  # nothing is borrowed of the object: only the copy can notice
        ref = await stored(store, LARGE, "u/x")
        with pytest.raises(StorageCorrupt, match="replaced"):
            await put(store, before, ref)
    assert await keys(store, store.bundles) == []


async def test_a_store_that_joins_only_parts_of_one_size_is_sent_all_of_it_from_then_on(
    copying: tuple[CopyingStore, Store],
) -> None:
    server, store = copying
    server.wants_even = True
    large = [await stored(store, LARGE, f"u/{number}") for number in range(2)]
    with structlog.testing.capture_logs() as logs, pytest.raises(StorageUnavailable):
        await put(store, b"header", *large)
    assert [line["event"] for line in logs] == ["storage.refuses_copied_parts"]
    assert await is_empty(store, store.bundles)
    whole = await put(store, b"header", *large)
    assert whole.sha256 == sha256(b"header" + LARGE + LARGE)


async def test_a_store_that_copies_another_range_than_asked_for_copies_none(
    copying: tuple[CopyingStore, Store],
) -> None:
    server, store = copying
    server.ignores_ranges = True
    assert not (await store.probe()).part_copy
    ref = await stored(store, LARGE, "u/x")
    whole = await put(store, b"before", ref)
    assert whole.sha256 == sha256(b"before" + LARGE)
