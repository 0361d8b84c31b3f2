"""The store against a real S3 server, and behind a proxy that breaks connections and bytes.

Set TEST_S3_ENDPOINT_URL, TEST_S3_ACCESS_KEY_ID and TEST_S3_SECRET_ACCESS_KEY to run the same tests on
another server beside the embedded one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aioboto3
import botocore.auth
import httpx
import msgspec
import pytest
from aiobotocore.config import AioConfig

from shared.errors import StorageCorrupt, StorageUnavailable, TooLarge
from shared.settings import S3, load
from shared.storage import (
    PROBE_PREFIX,
    ObjectExists,
    ObjectMissing,
    Store,
    content_disposition,
    open_store,
    safe_filename,
)
from shared.storage.__main__ import main, prepare
from tests.integration.faulty_proxy import (
    Answer,
    CorruptAnswer,
    CorruptUpload,
    CutAnswer,
    CutUpload,
    Fault,
    FaultyProxy,
    LoseAnswer,
    Refuse,
    Request,
    Rule,
    Stall,
    faulty_proxy,
)

MIB = 2**20
BINARY = "application/octet-stream"
PARTS = random.Random(1).randbytes(20 * MIB + 7)
SMALL = random.Random(2).randbytes(100_000)
EXTERNAL = {
    name.removeprefix("TEST_"): value for name, value in os.environ.items() if name.startswith("TEST_S3_")
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_buckets(env: Mapping[str, str]) -> S3:
    """Settings for this server with buckets nobody else uses."""
    mine = {
        f"S3_BUCKET_{kind}": f"{kind.lower()}-{uuid.uuid4()}"
        for kind in ("DATASETS", "ARTIFACTS", "BUNDLES", "MODELS")
    }
    return load(S3, {**env, **mine})


@pytest.fixture
def embedded(servers: Mapping[str, str]) -> S3:
    return with_buckets(servers)


@pytest.fixture(params=["embedded", "external"] if EXTERNAL else ["embedded"])
def s3(request: pytest.FixtureRequest) -> S3:
    return with_buckets(request.getfixturevalue("servers") if request.param == "embedded" else EXTERNAL)


@pytest.fixture
async def store(s3: S3) -> AsyncIterator[Store]:
    async with open_store(s3) as store:
        await store.ensure_buckets()
        yield store


@pytest.fixture
async def raw(s3: S3) -> AsyncIterator[Any]:
    """A plain client, to look behind the store's back."""
    session = aioboto3.Session(s3.s3_access_key_id, s3.s3_secret_access_key, region_name=s3.s3_region)
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"})
    async with session.client("s3", endpoint_url=s3.s3_endpoint_url, config=config) as client:
        yield client


async def cut(data: bytes, *sizes: int) -> AsyncGenerator[bytes, None]:
    """`data` in chunks of these sizes, over and over."""
    start = turn = 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        yield data[start : start + size]
        start, turn = start + size, turn + 1


async def read(store: Store, bucket: str, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.stream(bucket, key, start, end)])


async def keys(store: Store, bucket: str, prefix: str = "") -> list[str]:
    return [item.key async for item in store.list(bucket, prefix)]


async def is_empty(store: Store, bucket: str) -> bool:
    """No object, and no upload that was begun; the uploads that would be found are removed."""
    return await keys(store, bucket) == [] and await store.abort_stale_uploads(bucket, 0) == 0


# --- buckets and what the server can do ---------------------------------------------------------


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


async def test_what_the_embedded_server_can_do(embedded: S3) -> None:
    async with open_store(embedded) as store:
        await store.ensure_buckets()
        features = msgspec.structs.asdict(await store.probe())
    assert {name for name, there in features.items() if there} == {"etag_is_md5"}


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
    assert (
        await store.get_file(store.datasets, "u/f/table", tmp_path / "table", sha256=stored.sha256) == stored
    )
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
    assert await store.abort_stale_uploads(store.artifacts, 0) == 0


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
        content_type="application/x-pickle",
        sha256=source.sha256,
    )
    assert copied == source
    assert await read(store, store.models, "u/copy.pkl") == data
    head = await raw.head_object(Bucket=store.models, Key="u/copy.pkl")
    assert head["ContentType"] == "application/x-pickle"
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


async def test_deleting_a_prefix_pages_and_spares_its_neighbours(store: Store, raw: Any) -> None:
    names = [f"u/1/{number:04}" for number in range(1005)]
    for start in range(0, len(names), 50):
        batch = names[start : start + 50]
        await asyncio.gather(*(raw.put_object(Bucket=store.artifacts, Key=key, Body=b"x") for key in batch))
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
    assert await store.abort_stale_uploads(store.datasets, 0) == 1
    assert await store.abort_stale_uploads(store.datasets, 0) == 0


# --- signed links -------------------------------------------------------------------------------


async def link_to(store: Store, key: str = "u/x", ttl_s: int = 60) -> str:
    url, _ = await store.presign(store.artifacts, key, filename="x.pkl", content_type=BINARY, ttl_s=ttl_s)
    return url


async def test_a_link_opens_one_object_for_its_time(store: Store) -> None:
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY)
    await store.put_bytes(store.artifacts, "u/y", b"not yours", content_type=BINARY)
    before = dt.datetime.now(dt.UTC)
    url, expires_at = await store.presign(
        store.artifacts, "u/x", filename="x.pkl", content_type=BINARY, ttl_s=60
    )
    assert before + dt.timedelta(seconds=59) < expires_at < before + dt.timedelta(seconds=70)
    async with httpx.AsyncClient() as http:
        assert (await http.get(url)).content == SMALL
        assert (await http.get(url, headers={"Range": "bytes=0-9"})).content == SMALL[:10]
        for forged in (
            url.replace("/u/x?", "/u/y?"),
            url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
            url.replace("x.pkl", "evil.exe"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.split("?", 1)[0],
        ):
            assert forged != url
            assert (await http.get(forged)).status_code in (401, 403)
        assert (await http.put(url, content=b"mine now")).status_code in (401, 403)
        assert (await http.delete(url)).status_code in (401, 403)
    assert await read(store, store.artifacts, "u/x") == SMALL


async def test_an_expired_link_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY)
    now = botocore.auth.get_current_datetime()
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now - dt.timedelta(seconds=61))
    old, longer = await link_to(store, ttl_s=60), await link_to(store, ttl_s=600)
    async with httpx.AsyncClient() as http:
        assert (await http.get(old)).status_code in (401, 403)
        assert (await http.get(longer)).content == SMALL


async def test_links_are_signed_for_the_public_address(s3: S3) -> None:
    public = msgspec.structs.replace(s3, s3_public_endpoint_url="https://files.example.org/s3")
    async with open_store(public) as store:
        assert (await link_to(store)).startswith(f"https://files.example.org/s3/{store.artifacts}/u/x?")
        assert "X-Amz-Expires=604800&" in await link_to(store, ttl_s=10**9)


@pytest.mark.parametrize(
    "filename",
    [
        'a"; filename="evil.exe',
        "a\r\nSet-Cookie: x=1",
        "../../x.pkl",
        "\u202egpj.exe",
        "été 模型 🚂.pkl",
        "",
        "\x00",
    ],
)
async def test_hostile_file_names(store: Store, raw: Any, filename: str) -> None:
    """They are harmless in the object's own header, and in a link's where the store honours it."""
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY, filename=filename or "none")
    head = await raw.head_object(Bucket=store.artifacts, Key="u/x")
    assert head["ContentDisposition"] == content_disposition(filename or "none")
    url, _ = await store.presign(store.artifacts, "u/x", filename=filename, content_type=BINARY, ttl_s=60)
    async with httpx.AsyncClient() as http:
        answer = await http.get(url)
    assert answer.content == SMALL
    assert "Set-Cookie" not in answer.headers
    named = (await store.probe()).signed_disposition
    expected = safe_filename(filename if named else filename or "none")
    assert answer.headers["Content-Disposition"] == content_disposition(expected)


async def test_wrong_credentials_are_refused(s3: S3, store: Store) -> None:
    await store.put_bytes(store.artifacts, "u/x", SMALL, content_type=BINARY)
    wrong = msgspec.structs.replace(s3, s3_secret_access_key="wrong")
    async with open_store(wrong) as stranger:
        for attempt in (
            stranger.check(),
            stranger.head(store.artifacts, "u/x"),
            read(stranger, store.artifacts, "u/x"),
            stranger.put_bytes(store.artifacts, "u/x", b"mine", content_type=BINARY),
            stranger.delete(store.artifacts, "u/x"),
        ):
            with pytest.raises(StorageUnavailable, match="credentials"):
                await attempt
        async with httpx.AsyncClient() as http:
            assert (await http.get(await link_to(stranger))).status_code in (401, 403)
    assert await read(store, store.artifacts, "u/x") == SMALL


# --- a store that breaks ------------------------------------------------------------------------


class Faulty:
    """The store through a proxy that follows `rule` once the features are known."""

    def __init__(self, store: Store, proxy: FaultyProxy) -> None:
        self.store, self.proxy = store, proxy

    def breaks(self, rule: Rule) -> Store:
        self.proxy.rule = rule
        self.proxy.seen.clear()
        return self.store

    def is_sound(self) -> Store:
        return self.breaks(lambda _: None)

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.proxy.seen)


@pytest.fixture
async def faulty(embedded: S3) -> AsyncIterator[Faulty]:
    async with faulty_proxy(embedded.s3_endpoint_url, lambda _: None) as proxy:
        async with open_store(msgspec.structs.replace(embedded, s3_endpoint_url=proxy.url)) as store:
            await store.ensure_buckets()
            await store.probe()
            yield Faulty(store, proxy)


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


@pytest.mark.parametrize("fault", [Answer(500), Answer(503), Refuse(), CutUpload(50_000), LoseAnswer()])
@pytest.mark.parametrize("data", [SMALL, PARTS])
async def test_a_put_that_fails_once_is_tried_again(faulty: Faulty, data: bytes, fault: Fault) -> None:
    store = faulty.breaks(on("PUT", fault, times=1))
    stored = await store.put_stream(store.datasets, "u/f", cut(data, MIB), content_type=BINARY)
    assert stored.sha256 == sha256(data)
    assert await read(store, store.datasets, "u/f") == data
    assert await store.abort_stale_uploads(store.datasets, 0) == 0


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
        assert await store.abort_stale_uploads(store.datasets, 0) == 1
        yield PARTS

    with pytest.raises(StorageUnavailable):
        await store.put_stream(store.datasets, "u/f", swept(), content_type=BINARY)
    assert await is_empty(store, store.datasets)


async def test_what_an_absent_store_could_not_clean_up_is_swept_later(faulty: Faulty) -> None:
    store = faulty.breaks(lambda r: Answer(500) if r.is_part or r.method == "DELETE" else None)
    with pytest.raises(StorageUnavailable):
        await store.put_stream(store.datasets, "u/f", cut(PARTS, MIB), content_type=BINARY)
    assert await faulty.is_sound().abort_stale_uploads(store.datasets, 0) == 1


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
    assert await store.get_file(store.datasets, "u/f", tmp_path / "f", sha256=stored.sha256) == stored
    assert faulty.count("GET") == 3
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
    faulty.breaks(on("PUT", CutUpload(MIB)))
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


# --- the start ----------------------------------------------------------------------------------


async def test_the_start_waits_for_the_server(embedded: S3) -> None:
    async with faulty_proxy(embedded.s3_endpoint_url, lambda _: None) as proxy:
        proxy.rule = lambda _: Refuse() if len(proxy.seen) < 8 else None
        made = await prepare(msgspec.structs.replace(embedded, s3_endpoint_url=proxy.url), wait_s=30)
    assert len(made) == 4


def test_the_command_makes_buckets_and_says_what_is_wrong(
    embedded: S3, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.__main__.configure", lambda *_, **__: None)
    environ = {name.upper(): str(value) for name, value in msgspec.structs.asdict(embedded).items()}
    assert main(environ) == 0
    assert embedded.s3_bucket_models in capsys.readouterr().out
    assert main(environ) == 0
    assert "all there" in capsys.readouterr().out
    assert main({**environ, "SIGNED_URL_TTL_S": "soon"}) == 1
    assert "SIGNED_URL_TTL_S" in capsys.readouterr().err


# --- memory -------------------------------------------------------------------------------------

STREAM_300_MB = """
import asyncio, datetime, os, resource
from services.packager.bundle import Entry, zip_stream
from shared.settings import S3, load
from shared.storage import open_store

SIZE, BLOCK = 300_000_000, os.urandom(1_000_000)

async def source():
    for _ in range(SIZE // len(BLOCK)):
        yield BLOCK

async def main():
    async with open_store(load(S3, os.environ)) as store:
        await store.ensure_buckets()
        small = await store.put_bytes(store.artifacts, "u/small", b"x", content_type="a/b")
        kind = {"filename": "x", "content_type": "a/b"}
        await store.copy(store.artifacts, "u/small", store.models, "u/small", sha256=small.sha256, **kind)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stored = await store.put_stream(store.artifacts, "u/big", source(), content_type="a/b")
        assert stored.size_bytes == SIZE

        async def entries():
            chunks = store.stream(store.artifacts, "u/big")
            yield Entry(name="big.pkl", size=SIZE, mtime=datetime.datetime.now(datetime.UTC), chunks=chunks,
                        sha256=stored.sha256)

        await store.put_stream(store.bundles, "u/zip", zip_stream(entries()), content_type="application/zip")
        await store.copy(store.artifacts, "u/big", store.models, "u/big", sha256=stored.sha256, **kind)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


def test_three_hundred_megabytes_pass_in_constant_memory(servers: Mapping[str, str]) -> None:
    """Up, through a ZIP, and copied: at most 64 MiB more than before."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM_300_MB],
        env={**os.environ, **servers, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in
    assert int(done.stdout.splitlines()[-1]) * unit < 64 * MIB
