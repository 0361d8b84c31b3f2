"""A bare arq worker with arq's own settings, to measure ours against: `python -m tests.chaos.arq_default`."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Worker, func

QUEUE = "chaos:arq"
TOOK = "chaos:arq:took"
POLL_DELAY_S = 0.5
"""arq's default, said aloud."""


async def note(ctx: dict[str, Any], sent: float) -> None:
    """Leave the seconds from `sent` until now in a list."""
    await ctx["redis"].rpush(TOOK, str(time.time() - sent))


async def main() -> None:
    work: Any = note
    worker = Worker(
        functions=[func(work, name="note", keep_result=0)],
        queue_name=QUEUE,
        redis_settings=RedisSettings.from_dsn(os.environ["REDIS_URL"]),
        poll_delay=POLL_DELAY_S,
    )
    await worker.main()


if __name__ == "__main__":
    asyncio.run(main())
