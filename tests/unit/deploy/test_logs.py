from __future__ import annotations

from pathlib import Path

import pytest

from deploy import logs
from deploy.embedded import postgres
from deploy.embedded.credentials import Credentials
from deploy.logs import LogWatch, error_in
from deploy.processes import Program

PLAIN = Program.error_line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"event": "job failed", "level": "error", "job": "fit"}', "job failed"),
        ('{"event": "gone", "level": "critical"}', "gone"),
        ('{"event": "x", "level": "error", "exception": "Traceback:\\n  …\\nKeyError: 1"}', "x: KeyError: 1"),
        ('{"event": "job failed", "level": "warning"}', None),
        ('{"level": "error"}', None),
        ("{not json", None),
        ("ERROR:    Exception in ASGI application", "Exception in ASGI application"),
        ("INFO:     no ERROR: here", None),
        ("", None),
    ],
)
def test_which_lines_are_errors(line: str, message: str | None) -> None:
    assert error_in(line, PLAIN) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('2026-11-23 05:05:06 UTC [1] FATAL:  role "x" does not exist', 'role "x" does not exist'),
        ("2026-11-23 05:05:06 UTC [1] PANIC:  could not write", "could not write"),
        ("2026-11-23 05:05:06 UTC [1] ERROR:  duplicate key value", None),
        ("2026-11-23 05:05:06 UTC [1] FATAL:  the database system is starting up", None),
        ("2026-11-23 05:05:06 UTC [1] FATAL:  terminating connection due to administrator command", None),
    ],
)
def test_which_lines_of_postgres_are_errors(line: str, message: str | None, tmp_path: Path) -> None:
    program = postgres.program(tmp_path, Credentials(), 1, durable=True)
    assert error_in(line, program.error_line) == message


def test_a_look_sees_only_what_is_new_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("ERROR: of yesterday\n")
    watch = LogWatch(log, PLAIN)
    assert watch.look() == []
    with log.open("a") as file:
        file.write("ERROR: one\nERROR: tw")
    assert watch.look() == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert watch.look() == ["two"]


def test_many_errors_are_a_few_lines_and_a_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "x.log"
    watch = LogWatch(log, PLAIN)
    log.write_text("".join(f"ERROR: number {i}\n" for i in range(100)))
    assert watch.look() == ["number 0", "number 1", "number 2"]
    assert watch.look() == []
    monkeypatch.setattr(logs.time, "monotonic", lambda: 1e12)
    assert watch.look() == ["… and 97 more errors before"]


def test_a_log_is_bounded_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 100)
    log = tmp_path / "x.log"
    watch = LogWatch(log, PLAIN)
    with log.open("ab", buffering=0) as program:
        program.write(b"x" * 99 + b"\n")
        watch.look()
        watch.bound()
        assert log.stat().st_size == 100, "not over the bound"
        program.write(b"ERROR: before\n")
        assert watch.look() == ["before"]
        watch.bound()
        assert log.stat().st_size == 0
        assert (tmp_path / "x.log.1").stat().st_size == 114
        program.write(b"ERROR: after\n")
    assert watch.look() == ["after"]


def test_no_log_yet_is_no_error(tmp_path: Path) -> None:
    watch = LogWatch(tmp_path / "x.log", PLAIN)
    watch.bound()
    assert watch.look() == []
