"""Many tables read in real children, as the trainer reads them: what ends one, or makes it hang, is found."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from services.trainer.child import ChildCancelled, ChildFailed, Children
from tests.fuzz.hostile import Hostile
from tests.fuzz.steps import Read

MEMORY = 2 * 2**30
PATIENCE_S = 60.0
"""For one table; a hundredth of it is much already."""


async def read_tables(children: Children, tables: Sequence[Hostile], folder: Path) -> list[Read]:
    """What became of each: as the step says, or "crashed", "hung" or "memory" where its process did."""
    folder.mkdir()
    for i, hostile in enumerate(tables):
        (folder / str(i)).write_bytes(hostile.content)
    found: list[Read] = []
    while len(found) < len(tables):
        found += await _some(children, tables, folder, len(found))
    shutil.rmtree(folder)
    return found


async def _some(children: Children, tables: Sequence[Hostile], folder: Path, first: int) -> list[Read]:
    """Of the tables from `first` on all, or those up to the one that ended the process."""
    names = [table.name for table in tables]
    run = _Run(children, folder, first)
    try:
        return await run.of(names)
    except (ChildFailed, ChildCancelled) as error:
        if run.at == first:
            return [Read(_what(error), 0.0, str(error))]
        # those before it once more, without it: it begins the next part
        return await run.of(names[: run.at])


class _Run:
    """One child at work; cancelled where it stands still."""

    def __init__(self, children: Children, folder: Path, first: int) -> None:
        self.children, self.folder, self.first = children, folder, first
        self.at = first
        self.moved = asyncio.Event()

    async def of(self, names: list[str]) -> list[Read]:
        stop = asyncio.Event()
        watching = asyncio.create_task(self._watch(stop))
        try:
            answer = await self.children.run(
                "read_all",
                {"folder": str(self.folder), "names": names, "first": self.first},
                scratch=self.folder / "scratch",
                timeout_s=PATIENCE_S * (len(names) - self.first),
                memory_bytes=MEMORY,
                reads=[self.folder],
                on_progress=self._heard,
                cancelled=stop,
            )
        finally:
            watching.cancel()
        return msgspec.json.decode(answer, type=list[Read])

    def _heard(self, _share: float, message: str) -> None:
        self.at = int(message)
        self.moved.set()

    async def _watch(self, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self.moved.clear()
                async with asyncio.timeout(PATIENCE_S):
                    await self.moved.wait()
        stop.set()


def _what(error: Exception) -> str:
    if isinstance(error, ChildFailed) and error.kind in ("memory", "crashed", "killed", "exited"):
        return error.kind
    return "hung"
