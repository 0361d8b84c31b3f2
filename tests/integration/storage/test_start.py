"""Making the buckets at start, and how much memory streaming takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from shared.settings import S3, reveal
from shared.storage.__main__ import main, prepare
from tests.integration.faulty_proxy import Refuse, faulty_proxy
from tests.integration.storage.objects import MIB


async def test_the_start_waits_for_the_server(embedded: S3) -> None:
    async with faulty_proxy(embedded.s3_endpoint_url, lambda _: None) as proxy:
        proxy.rule = lambda _: Refuse() if len(proxy.seen) < 8 else None
        made = await prepare(msgspec.structs.replace(embedded, s3_endpoint_url=proxy.url), wait_s=30)
    assert len(made) == 4


def test_the_command_makes_buckets_and_says_what_is_wrong(
    embedded: S3, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.__main__.configure", lambda *_, **__: None)
    environ = {
        name.upper(): reveal(value) if isinstance(value, str) else str(value)
        for name, value in msgspec.structs.asdict(embedded).items()
    }
    assert main(environ) == 0
    assert embedded.s3_bucket_models in capsys.readouterr().out
    assert main(environ) == 0
    assert "all there" in capsys.readouterr().out
    assert main({**environ, "SIGNED_URL_TTL_S": "soon"}) == 1
    assert "SIGNED_URL_TTL_S" in capsys.readouterr().err


STREAM_200_MB = """
import asyncio, datetime, os, resource
from services.packager.bundle import Entry, zip_contents
from shared.settings import S3, load
from shared.storage import ObjectRef, open_store

SIZE, BLOCK = 200_000_000, os.urandom(1_000_000)
KIND = {"content_type": "application/zip"}

async def source():
    for _ in range(SIZE // len(BLOCK)):
        yield BLOCK

async def main():
    async with open_store(load(S3, os.environ)) as store:
        await store.ensure_buckets()
        small = await store.put_bytes(store.artifacts, "u/small", b"x", content_type="application/zip")
        kind = {"filename": "x", "content_type": "application/zip"}
        await store.copy(store.artifacts, "u/small", store.models, "u/small", sha256=small.sha256, **kind)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stored = await store.put_stream(store.artifacts, "u/big", source(), content_type="application/zip")
        assert stored.size_bytes == SIZE

        async def entries():
            ref = ObjectRef(bucket=store.artifacts, key="u/big", size_bytes=SIZE, sha256=stored.sha256,
                            etag=stored.etag)
            for name, crc32 in (("known.pkl", stored.crc32), ("of_before.pkl", None)):
                yield Entry(name=name, size=SIZE, mtime=datetime.datetime.now(datetime.UTC), source=ref,
                            chunks=store.stream(ref.bucket, ref.key), sha256=ref.sha256, crc32=crc32)

        await store.put_contents(store.bundles, "u/zip", zip_contents(entries()), **KIND)
        await store.copy(store.artifacts, "u/big", store.models, "u/big", sha256=stored.sha256, **kind)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


def test_two_hundred_megabytes_pass_in_constant_memory(servers: Mapping[str, str]) -> None:
    """Up, through a ZIP in either way, and copied: at most 64 MiB more than before."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM_200_MB],
        env={**os.environ, **servers, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in
    assert int(done.stdout.splitlines()[-1]) * unit < 64 * MIB
