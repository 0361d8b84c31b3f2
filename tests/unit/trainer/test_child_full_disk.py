"""A step that meets a full disk, told apart from one that only says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from services.trainer import sandbox_disk
from services.trainer.child import Children
from services.trainer.child_main import FAILED, FAILURE_FILE, Failure, Request
from services.trainer.child_outcome import ChildFailed, outcome
from services.trainer.child_process import Ended
from services.trainer.sandbox import OFF
from tests.integration.small_disk import small_disk
from tests.unit.trainer.child_call import MIB, STEPS, Call, failure


@pytest_asyncio.fixture
async def children() -> AsyncIterator[Children]:
    async with Children(STEPS, preload=[], disk_bytes=64 * MIB) as children:
        yield children


async def test_a_full_disk_is_not_the_steps_fault(children: Children, tmp_path: Path) -> None:
    """It cannot even tell of it: there is no room for that either."""
    with small_disk(tmp_path / "disk", 4 * MIB) as real:
        call = Call(children, tmp_path / "disk" / "scratch")
        if real:
            error = await failure(call, "write_until_full")
            assert (error.kind, error.detail) == ("full", sandbox_disk.NEARLY_FULL)
    # with room, the same step comes to its own limit
    own = Call(children, tmp_path / "scratch")
    assert (await failure(own, "write_until_full")).kind == "disk"


def said(scratch: Path, failure: Failure) -> ChildFailed:
    (scratch / FAILURE_FILE).write_bytes(msgspec.json.encode(failure))
    request = Request(
        target="", payload={}, scratch=str(scratch), memory_bytes=1, disk_bytes=MIB, reads=[], layers=OFF
    )
    with pytest.raises(ChildFailed) as caught:
        outcome("fit", Ended(FAILED), request)
    return caught.value


def test_what_a_step_says_of_the_disk_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(detail="OSError: No space left on device", traceback="", disk_full=True)
    assert said(tmp_path, failure).kind == "error", "there is room: it would be tried for ever"
    monkeypatch.setattr(sandbox_disk, "LEFT_BYTES", 2**62)
    assert said(tmp_path, failure).kind == "full"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (RuntimeError("Error writing bytes to file. Detail: [errno 28] No space left on device"), True),
        (OSError(27, "File too large"), False),
        (OSError(5, "Input/output error"), False),
    ],
)
def test_how_libraries_tell_of_it(error: Exception, full: bool) -> None:
    assert sandbox_disk.is_full(error) is full
