from __future__ import annotations

from pathlib import Path

import pytest

from deploy import check_locks


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project whose locks agree."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[dependency-groups]\nshared = ["aa>=1"]\napi = [{include-group = "shared"}, "b.b[x]>=2,<3"]\n'
        'trainer = []\ndask = []\npackager = []\nlocal = [{include-group = "api"}]\n'
        'dev = [{include-group = "local"}]\n'
    )
    for group in check_locks.GROUPS:
        (tmp_path / "requirements" / f"{group}.txt").write_text("")
    for group in ("dev", "local", "api"):
        (tmp_path / "requirements" / f"{group}.txt").write_text(
            f"aa==1.5 \\\n    --hash=sha256:00\n    # via\n    #   -c requirements/dev.txt\n"
            f"    #   trainyard (pyproject.toml:{group})\n"
            f"b-b==2.1 ; python_full_version >= '3.12' \\\n    --hash=sha256:00\n"
            f"    # via trainyard (pyproject.toml:{group})\n"
            "cc==7 \\\n    --hash=sha256:00\n    # via b-b\n"
        )
    return tmp_path


def edit(project: Path, file: str, old: str, new: str) -> None:
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_locks_that_agree(project: Path) -> None:
    assert check_locks.faults(project) == []


def test_a_requirement_that_was_added(project: Path) -> None:
    edit(project, "pyproject.toml", '"aa>=1"', '"aa>=1", "new"')
    assert check_locks.faults(project) == ["dev.txt lacks new", "local.txt lacks new", "api.txt lacks new"]


def test_a_requirement_that_was_removed(project: Path) -> None:
    edit(project, "pyproject.toml", '"aa>=1"', "")
    assert len(check_locks.faults(project)) == 3
    assert "api.txt has aa, which nothing asks for" in check_locks.faults(project)


def test_a_requirement_that_was_raised(project: Path) -> None:
    edit(project, "pyproject.toml", '"aa>=1"', '"aa>=1.6"')
    assert "api.txt has aa 1.5, and pyproject.toml asks for aa>=1.6" in check_locks.faults(project)


def test_a_lock_that_goes_its_own_way(project: Path) -> None:
    edit(project, "requirements/api.txt", "cc==7", "cc==8")
    assert check_locks.faults(project) == ["api.txt and dev.txt have different versions of cc"]


def test_the_projects_own_locks() -> None:
    assert check_locks.faults(check_locks.PROJECT) == []
