"""What no page shows: the object store, and the programs of the stack."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil

from deploy import embedded
from deploy.holder import read_holder
from deploy.stack import PORTS_FILE
from shared.settings import S3, load
from shared.storage import open_store
from tests.e2e.stack import Stack


def store_settings(stack: Stack) -> S3:
    ports = msgspec.json.decode((stack.directory / PORTS_FILE).read_bytes(), type=dict[str, int])
    return load(S3, embedded.connection_variables(embedded.load_credentials(stack.directory), ports))


def saved_object(stack: Stack, key: str, into: Path) -> Path:
    """The registry's object of that key, fetched from the store itself."""

    async def fetch() -> None:
        async with open_store(store_settings(stack)) as store:
            await store.get_file(store.models, key, into)

    with ThreadPoolExecutor(1) as elsewhere:  # this thread's loop is Playwright's
        elsewhere.submit(asyncio.run, fetch()).result()
    return into


@contextlib.contextmanager
def paused(stack: Stack, program: str) -> Iterator[None]:
    """The program does nothing within the block: what it has to do waits, and can be looked at."""
    holder = read_holder(stack.directory)
    assert holder, "the stack does not run"
    process = psutil.Process(holder.children[program][0])
    process.suspend()
    try:
        yield
    finally:
        process.resume()
