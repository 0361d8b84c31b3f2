"""`make setup` on machines that lack something, with stand-ins for their Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy import install
from deploy.processes import PROJECT

OLD = "exit 1"
INSTALLED = "running deploy/install.py local\nrunning deploy/dashboard.py \n"
WITHOUT_ENSUREPIP = 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac'
RECORDS = (
    'case "$1" in --version) echo Python 3.13.1;;'
    ' -m) mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/bin/pip;;'
    ' -I) echo "running $2 $3";; esac'
)


def set_up(folder: Path, pythons: dict[str, str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run setup.sh where only `pythons` (name → shell script) are on the PATH."""
    project, path = folder / "a project", folder / "bin"
    (project / "deploy").mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True)
    shutil.copy(PROJECT / "deploy" / "setup.sh", project / "deploy")
    for name, script in pythons.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    for tool in ("dirname", "mkdir", "cp", "rm", "touch"):
        if not (path / tool).exists():
            (path / tool).symlink_to(shutil.which(tool) or tool)
    return subprocess.run(
        [shutil.which("sh") or "sh", str(project / "deploy" / "setup.sh")],
        env={"PATH": str(path)} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("pythons", [{}, {"python3": OLD}])
def test_no_recent_python(pythons: dict[str, str], tmp_path: Path) -> None:
    done = set_up(tmp_path, pythons)
    assert done.returncode == 1
    assert done.stderr.startswith("Trainyard needs Python 3.11 or later, and there is none on the PATH.")
    assert not (tmp_path / "a project" / ".venv").exists()


def test_the_python_that_was_asked_for_is_too_old(tmp_path: Path) -> None:
    done = set_up(tmp_path, {"python3": RECORDS, "python3.9": OLD}, PYTHON="python3.9")
    assert (done.returncode, done.stderr) == (1, "python3.9 is not a Python 3.11 or later.\n")


def test_no_ensurepip(tmp_path: Path) -> None:
    done = set_up(tmp_path, {"python3": WITHOUT_ENSUREPIP})
    assert done.returncode == 1
    assert "On Debian and Ubuntu: apt install python3.12-venv" in done.stderr


def test_a_recent_python_under_another_name_is_found(tmp_path: Path) -> None:
    done = set_up(tmp_path, {"python3": OLD, "python3.13": RECORDS})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Making .venv with Python 3.13.1\n" + INSTALLED


def test_an_environment_that_was_left_half_is_made_anew(tmp_path: Path) -> None:
    set_up(tmp_path, {"python3": RECORDS})
    assert set_up(tmp_path, {"python3": RECORDS}).stdout == INSTALLED
    (tmp_path / "a project" / ".venv" / "bin" / "pip").unlink()
    assert "Making .venv" in set_up(tmp_path, {"python3": RECORDS}).stdout


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of a project that needs nothing, and a note beside it."""
    (tmp_path / "requirements").mkdir()
    for group in ("local", "dev"):
        (tmp_path / "requirements" / f"{group}.txt").write_text("# nothing\n")
    monkeypatch.setattr(install, "PROJECT", tmp_path)
    monkeypatch.setattr(install, "NOTE", tmp_path / "note.json")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "requirements" / "local.txt"


def test_an_unchanged_lock_is_not_installed_again(lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert install.main("local") == 0
    assert "Installed in" in capfd.readouterr().out
    assert install.main("local") == 0
    assert capfd.readouterr().out == ""
    lock.write_text("# something else\n")
    assert install.main("local") == 0
    assert "Installed in" in capfd.readouterr().out


def test_what_dev_installs_local_need_not(lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert install.main("dev") == 0
    capfd.readouterr()
    assert install.main("local") == 0
    assert capfd.readouterr().out == ""


def test_what_pip_cannot_install_is_said_and_tried_again(
    lock: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock.write_text("no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n")
    for _ in range(2):
        assert install.main("local") == 1
        assert "No matching distribution found for no-such-package==1.0" in capfd.readouterr().err


@pytest.mark.parametrize("target", ["up", "demo"])
def test_a_signal_to_make_reaches_the_program(target: str) -> None:
    printed = ["make", "--dry-run", target, "DATA_DIR=a folder"]
    done = subprocess.run(printed, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "\nexec .venv/bin/python -m deploy." in done.stdout, "no shell stands in between"


def test_the_make_targets_are_listed() -> None:
    environ = {"PATH": os.environ["PATH"]}
    listed = subprocess.run(
        ["make"], cwd=PROJECT, env=environ, capture_output=True, text=True, check=True
    ).stdout
    for target in ("setup", "demo", "up", "env", "test", "lint", "format", "lock", "clean"):
        assert f"  make {target} " in listed
