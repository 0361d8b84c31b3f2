"""Scratch folders: fresh, gone at their end, and those of a killed process removed by the next."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from services.trainer.scratch import Scratch

KILLED = """
import os, pathlib, signal, sys
from services.trainer.scratch import Scratch
with Scratch(pathlib.Path(sys.argv[1])) as scratch, scratch.folder() as folder:
    (folder / "model.pkl").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_fresh_and_goes(tmp_path: Path) -> None:
    with Scratch(tmp_path / "cache") as scratch:
        with scratch.folder() as one, scratch.folder() as other:
            assert one != other
            assert not list(one.iterdir())
            (one / "file").touch()
        assert not one.exists()
    assert not list((tmp_path / "cache").iterdir())


def test_a_killed_process_leaves_its_folder_to_the_next(tmp_path: Path) -> None:
    with Scratch(tmp_path) as living, living.folder() as kept:
        code = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode
        assert code == -signal.SIGKILL
        assert len(list(tmp_path.rglob("model.pkl"))) == 1
        with Scratch(tmp_path) as scratch, scratch.folder():
            assert not list(tmp_path.rglob("model.pkl"))
            assert kept.exists(), "what lives was removed"
