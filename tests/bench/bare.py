"""The anchor of status polls: a bare Litestar handler that does one asyncpg SELECT by primary key.

python -m tests.bench.bare DATABASE_URL PORT
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvicorn
from litestar import Litestar, get
from litestar.datastructures import State


@get("/{task_id:uuid}")
async def one_select(task_id: uuid.UUID, state: State) -> dict[str, Any]:
    async with state.pool.acquire() as connection:
        row = await connection.fetchrow(
            "SELECT id, name, status, stage, message, version, created_at FROM trainyard.tasks WHERE id = $1",
            task_id,
        )
    return dict(row)


def app(url: str) -> Litestar:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=1, max_size=8) as pool:
            app.state.pool = pool
            yield

    return Litestar([one_select], lifespan=[lifespan], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    uvicorn.run(
        app(sys.argv[1]),
        port=int(sys.argv[2]),
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )
