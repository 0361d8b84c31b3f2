"""Signed links, and who is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import botocore.auth
import httpx
import msgspec
import pytest

from shared.errors import StorageUnavailable
from shared.settings import S3
from shared.storage import Store, content_disposition, open_store, safe_filename
from tests.integration.storage.objects import BINARY, SMALL, read


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
            assert (await http.get(forged)).status_code in (400, 401, 403)
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
