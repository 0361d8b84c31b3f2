"""Which of the ids and paths found in the store have a row."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from shared.db.pool import Connection


async def known_files(c: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    rows = await c.fetch("SELECT id FROM trainyard.files WHERE id = ANY($1)", ids)
    return {row["id"] for row in rows}


async def known_tasks(c: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    rows = await c.fetch("SELECT id FROM trainyard.tasks WHERE id = ANY($1)", ids)
    return {row["id"] for row in rows}


async def known_bundles(c: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Tasks that have a bundle; earlier attempts' objects go when the next one is built."""
    rows = await c.fetch("SELECT task_id FROM trainyard.bundles WHERE task_id = ANY($1)", ids)
    return {row["task_id"] for row in rows}


async def known_exports(c: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Users that have an export; earlier attempts' objects go when the next one is built."""
    rows = await c.fetch("SELECT user_id FROM trainyard.exports WHERE user_id = ANY($1)", ids)
    return {row["user_id"] for row in rows}


async def known_paths(c: Connection, paths: Sequence[str]) -> set[str]:
    """Paths of saved models; one still being saved has its path only at the end, so it counts by age."""
    rows = await c.fetch("SELECT file_path FROM public.trained_models WHERE file_path = ANY($1)", paths)
    return {row["file_path"] for row in rows}
