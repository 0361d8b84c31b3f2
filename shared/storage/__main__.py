"""Make the buckets, waiting for a server that is still coming up, see that nobody can read them without a
signature, have the store end unfinished uploads where it can, and say what it can do."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

import stamina

from shared.errors import StorageUnavailable, TrainyardError
from shared.logging import configure
from shared.settings import S3, Logging, load, secrets_of
from shared.storage import open_store

WAIT_S = 60.0


async def prepare(settings: S3, *, wait_s: float = WAIT_S) -> tuple[str, ...]:
    """Make what is missing, within `wait_s`; the names of the buckets made.

    Raises StorageUnavailable, and ConfigurationError for a bucket that is public."""
    async with open_store(settings) as store:
        async for attempt in stamina.retry_context(
            on=StorageUnavailable, attempts=None, timeout=wait_s, wait_initial=0.2, wait_max=2.0
        ):
            with attempt:
                made = await store.ensure_buckets()
        await store.check_private()
        await store.clean_up_by_itself()
        await store.probe()
    return made


def main(environ: Mapping[str, str]) -> int:
    try:
        configure(load(Logging, environ), service="storage", secrets=secrets_of(environ))
        made = asyncio.run(prepare(load(S3, environ)))
    except TrainyardError as error:
        print(f"{error.slug}: {error.detail}", file=sys.stderr)
        return 1
    print(f"buckets made: {', '.join(made)}" if made else "buckets: all there")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
