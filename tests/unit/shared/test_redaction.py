"""No line of a log shows a secret, whoever wrote it and however."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.logging import configure
from shared.redaction import SHORTEST, redactor
from shared.settings import Logging

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
KEY = "ty_0123456789abcdefABCDEF"
SIGNED = (
    "https://s3.example/b/k?X-Amz-Credential=AKIAEXAMPLE%2F2026&X-Amz-Expires=60&X-Amz-Signature=0a1b2c3d"
)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (f"Authorization: Bearer {JWT}", "Authorization: [redacted]"),
        (f"got {JWT}, which", "got [redacted], which"),
        (f"key {KEY}!", "key [redacted]!"),
        (f"{{'authorization': 'Bearer {KEY}', 'a': 1}}", "{'authorization': '[redacted]', 'a': 1}"),
        (
            f"[(b'cookie', b'trainyard_session={JWT}'), (b'a', b'b')]",
            "[(b'cookie', b'[redacted]'), (b'a', b'b')]",
        ),
        (f'{{\\"Cookie\\": \\"a={JWT}\\"}}', '{\\"Cookie\\": \\"[redacted]\\"}'),
        ("bearer abcdefghij.klm", "bearer [redacted]"),
        ("postgresql://me:pa:ss@host:1/db", "postgresql://me:[redacted]@host:1/db"),
        ("redis://:hunter2@redis:6379/0", "redis://:[redacted]@redis:6379/0"),
        (
            SIGNED,
            "https://s3.example/b/k?X-Amz-Credential=[redacted]&X-Amz-Expires=60&X-Amz-Signature=[redacted]",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIA/2026/s3, SignedHeaders=host, Signature=0a1b",
            "AWS4-HMAC-SHA256 Credential=[redacted], SignedHeaders=host, Signature=[redacted]",
        ),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(line: str, left: str) -> None:
    assert redactor()(line) == left


@pytest.mark.parametrize(
    "line",
    [
        "http://127.0.0.1:9000/datasets/a/b.csv",
        "2026-01-01T00:00:00Z [info] answered method=GET path=/ml/status/x status=200",
        "The Authorization header must be `Bearer <token>`",
        "tasks: ty_pes of models",
        "a@b.example and c@d.example",
    ],
)
def test_what_is_none_stays(line: str) -> None:
    assert redactor(["hunter2-hunter2"])(line) == line


@given(secret=st.text(min_size=SHORTEST), around=st.text(max_size=20))
def test_a_known_secret_is_found_however_it_is_written(secret: str, around: str) -> None:
    hide = redactor([secret])
    for written in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        marked = f"{around}\x00<{written}>\x00{around}"
        assert f"<{written}>" not in hide(marked)


def test_a_secret_that_begins_with_another_is_hidden_whole() -> None:
    assert (
        redactor(["hunter2", "hunter2-and-more"])("a hunter2-and-more b hunter2")
        == "a [redacted] b [redacted]"
    )


def test_long_lines_take_no_time() -> None:
    hide = redactor(["x" * 40])
    for awkward in ("a." * 50_000, "a:" * 50_000, "cookie" * 20_000, "eyJ" * 30_000, "://a:" * 20_000):
        assert len(hide(awkward)) > 1000  # the test's time limit is what is tried


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, with everything put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    yield io.StringIO()
    root.handlers[:], (level, sys.excepthook, threading.excepthook) = before[0], before[1:]
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_every_way_into_the_log_is_covered(lines: io.StringIO, log_format: str) -> None:
    secret = 'pass"word\\with-äll'
    configure(Logging(log_level="debug", log_format=log_format), service="t", secrets=[secret], stream=lines)  # type: ignore[arg-type]
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("somebody.else")

    def fail(password: str) -> None:
        raise RuntimeError(f"cannot sign in with {password}")

    ours.info(f"one {secret}", a={"deep": [secret]}, password="no matter what")
    theirs.debug("two %s %r", secret, {"Authorization": f"Bearer {JWT}"})
    for log in (ours.error, theirs.error):
        try:
            fail(secret)
        except RuntimeError:
            log("three", exc_info=True)
    try:
        fail(secret)
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    thread = threading.Thread(target=fail, args=(secret,))
    thread.start()
    thread.join()
    written = lines.getvalue()
    for word in ("one", "two", "three", "uncaught error", "cannot sign in with [redacted]"):
        assert word in written
    assert written.count("Traceback") == 4
    for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], JWT, "no matter what"):
        assert form not in written
    assert log_format == "console" or all(
        json.loads(line)["service"] == "t" for line in written.splitlines() if "uncaught" not in line
    )
