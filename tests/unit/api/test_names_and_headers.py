"""Small readings of what clients send: file names, Accept, Prefer, Host, cursors."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from services.api.handover import wants_json
from services.api.paging import (
    after_id,
    after_moment,
    after_offset,
    id_cursor,
    moment_cursor,
    offset_cursor,
)
from services.api.routes.auth import check_host
from services.api.upload import file_name
from services.api.waiting import wait_s
from shared.errors import Forbidden, InvalidRequest, UnsupportedMedia
from shared.settings import Api


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("iris.csv", "iris.csv"),
        ("/etc/../iris.CSV.GZ", "iris.CSV.GZ"),
        ("C:\\a\\b.parquet", "b.parquet"),
        ("a\r\nSet-Cookie: x\x00.tsv", "aSet-Cookie: x.tsv"),
        ("\u202egpj.csv", "gpj.csv"),
        ("no suffix", "no suffix"),
        ("v1.2", "v1.2"),
        ("", "table"),
        ("dir/", "table"),
        ("x" * 300 + ".csv.zst", "x" * 247 + ".csv.zst"),
        ("Größe 表.csv", "Größe 表.csv"),
    ],
)
def test_names_are_kept_as_typed_less_what_could_mislead(given: str, kept: str) -> None:
    assert file_name(given) == kept


@pytest.mark.parametrize("name", ["a.xlsx", "a.zip", "a.csv.exe", "a.json", "a.gz", "a.pkl"])
def test_names_of_something_else_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedMedia):
        file_name(name)


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("text/plain, Application/JSON;q=0.9", True),
        ("application/json, */*", False),
        ("application/json, text/plain, */*;q=0.1", False),
        ("*/*", False),
        ("", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/problem+json", False),
    ],
)
def test_json_is_what_accept_names_and_nothing_else(accept: str, json: bool) -> None:
    assert wants_json(accept) is json


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 10),
        ("", 10),
        ("wait=3", 3),
        ("respond-async, wait=20", 20),
        ('return=minimal; foo, Wait = "7"', 7),
        ("wait=600", 60),
        ("wait=-1", 10),
        ("await=3", 10),
    ],
)
def test_how_long_a_download_waits(prefer: str | None, seconds: float) -> None:
    assert wait_s(prefer) == seconds


def test_hosts_that_are_this_machine() -> None:
    settings = Api(allowed_hosts="yard.test, other.test")
    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "127.3.2.1", "YARD.test:9"):
        check_host(host, settings)
    for host in ("", "evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "[::ffff", "1.2.3.4", "a@b"):
        with pytest.raises(Forbidden):
            check_host(host, settings)


def test_cursors_are_ours_or_refused() -> None:
    last = uuid.uuid4()
    assert after_id(id_cursor(last)) == last
    assert after_offset(offset_cursor(50)) == 50
    assert (after_id(None), after_offset(None)) == (None, 0)
    for wrong in ("", "x", "===", "ü", offset_cursor(-1), offset_cursor(10**10), id_cursor(last)):
        with pytest.raises(InvalidRequest):
            after_offset(wrong)
    with pytest.raises(InvalidRequest):
        after_id(offset_cursor(5))


def test_a_cursor_holds_a_moment_to_the_microsecond() -> None:
    last = uuid.uuid4()
    for made in (
        dt.datetime(2026, 11, 23, 17, 42, 1, 123457, dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC),
    ):
        assert after_moment(moment_cursor(made, last)) == (made, last)
    assert after_moment(None) is None
    # those of other orders, which whoever reads an offset or refuses it gets to see
    assert after_moment(offset_cursor(50)) is None and after_moment(id_cursor(last)) is None
    with pytest.raises(InvalidRequest):
        after_moment("OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5")
