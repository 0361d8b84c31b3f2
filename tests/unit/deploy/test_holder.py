from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from deploy import holder


def test_a_directory_is_held_by_one(tmp_path: Path) -> None:
    with holder.held(tmp_path):
        holder.write_holder(tmp_path, "http://127.0.0.1:8000", {})
        with pytest.raises(holder.AlreadyRunning) as refused:
            with holder.held(tmp_path):
                pass
        assert str(refused.value) == (
            f"Trainyard already runs on {tmp_path} at http://127.0.0.1:8000 (process {os.getpid()})"
        )
    with holder.held(tmp_path):
        assert holder.read_holder(tmp_path) is None


def test_children_that_were_left_are_ended(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "100"])
    with holder.held(tmp_path):
        holder.write_holder(tmp_path, None, {"api": child.pid})
        assert holder.end_leftovers(tmp_path) == ["api"]
    assert child.wait(5) == -9


def test_a_number_that_is_someone_elses_by_now_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "100"])
    state = f'{{"pid": 1, "children": {{"api": [{stranger.pid}, {time.time() - 1e6}]}}}}'
    (tmp_path / holder.STATE_FILE).write_text(state)
    assert holder.end_leftovers(tmp_path) == []
    assert psutil.pid_exists(stranger.pid)
    stranger.kill()
    stranger.wait()


def test_nothing_left_is_no_trouble(tmp_path: Path) -> None:
    assert holder.end_leftovers(tmp_path) == []
    (tmp_path / holder.STATE_FILE).write_text("{oh")
    assert holder.end_leftovers(tmp_path) == []
