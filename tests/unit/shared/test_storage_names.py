"""Object keys, safe names, the Content-Disposition header, and how a store's features decide on downloads."""

from __future__ import annotations

import datetime as dt
import email.message
import re
import unicodedata
import uuid
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.settings import S3
from shared.storage import (
    StoreFeatures,
    belongs_to,
    bundle_key,
    content_disposition,
    dataset_key,
    downloads_mode,
    model_key,
    plot_key,
    report_key,
    safe_filename,
    safe_name,
    saved_model_path,
    task_prefix,
)
from shared.storage.parts import MOST_PARTS, PART_BYTES, part_bytes

USER = uuid.UUID("0197a000-0000-7000-8000-000000000001")
TASK = uuid.UUID("0197a000-0000-7000-8000-000000000002")
AT = dt.datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=dt.UTC)

HOSTILE = [
    "../../etc/passwd",
    "..\\..\\windows\\system32\\cmd.exe",
    'a"; filename="evil.exe',
    "a\r\nSet-Cookie: session=1",
    "model\u202egpj.exe",
    "zero\u200bwidth",
    "nul.pkl",
    "CON",
    "%2e%2e%2fx.pkl",
    "\ud800lone.pkl",
    "",
    "   ",
    "...",
    "x" * 5000 + ".pkl",
    "模型.pkl",
    "modèle été.pkl",
    "emoji 🚂.pkl",
    "\x00\x01\x7f",
    "a/b:c*d?e<f>g|h",
]


def test_keys_are_made_of_ids() -> None:
    assert dataset_key(USER, TASK) == f"{USER}/{TASK}/table"
    assert model_key(USER, str(TASK).upper(), "xgboost", 2) == f"{USER}/{TASK}/xgboost/2/model.pkl"
    assert plot_key(USER, TASK, "ridge", 1, "roc") == f"{USER}/{TASK}/ridge/1/roc.svg"
    assert report_key(USER, TASK, 1, "leaderboard.csv") == f"{USER}/{TASK}/report/1/leaderboard.csv"
    assert bundle_key(USER, TASK, 3) == f"{USER}/{TASK}/3.zip"
    assert task_prefix(USER, TASK) == f"{USER}/{TASK}/"


@pytest.mark.parametrize("slug", ["", "..", "a/b", "A", "_x", "a" * 64, "a\n", "é", "a.b"])
def test_slugs_are_checked(slug: str) -> None:
    with pytest.raises(ValueError, match="slug"):
        model_key(USER, TASK, slug, 1)
    with pytest.raises(ValueError, match="slug"):
        plot_key(USER, TASK, "ridge", 1, slug)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "a b", "x" * 101, "a\n"])
def test_report_names_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        report_key(USER, TASK, 1, name)


@pytest.mark.parametrize("attempt", [-1, True, "1", 1.0])
def test_attempts_are_checked(attempt: object) -> None:
    with pytest.raises(ValueError, match="attempt"):
        bundle_key(USER, TASK, attempt)  # type: ignore[arg-type]


def test_ids_are_checked() -> None:
    with pytest.raises(ValueError, match="UUID"):
        dataset_key("../other", TASK)


def test_a_saved_model_is_named_by_its_time_in_utc_with_microseconds() -> None:
    east = dt.timezone(dt.timedelta(hours=9))
    expected = f"{USER}/My_best_model_20260304T050607000089Z.pkl"
    assert saved_model_path(USER, "My best/model", AT) == expected
    assert saved_model_path(USER, "My best/model", AT.astimezone(east)) == expected
    with pytest.raises(ValueError, match="zone"):
        saved_model_path(USER, "x", AT.replace(tzinfo=None))


def test_belongs_to_sees_through_paths_that_leave_the_prefix() -> None:
    assert belongs_to(USER, saved_model_path(USER, "x", AT))
    for key in (
        f"{TASK}/x.pkl",
        f"{USER}",
        f"{USER}x/y",
        f"{USER}/../{TASK}/x",
        f"{USER}//x",
        f"/{USER}/x",
        "",
    ):
        assert not belongs_to(USER, key)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Iris forest", "Iris_forest"),
        ("modèle n°1", "modele_n_1"),
        ("模型", "model"),
        ("", "model"),
        ("../../x", "x"),
        ("CON", "model_CON"),
        ("com1.tar", "model_com1.tar"),
        ("COM¹", "model_COM1"),
        ("console", "console"),
        ("v1.2-final", "v1.2-final"),
        ("a...b", "a.b"),
        ("trailing. ", "trailing"),
    ],
)
def test_safe_name(text: str, name: str) -> None:
    assert safe_name(text) == name


@given(st.text(max_size=300) | st.sampled_from(HOSTILE))
def test_safe_name_is_portable_whatever_comes(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9])?", name)
    assert not PureWindowsPath(name).is_reserved()
    assert ".." not in name


@given(st.text(max_size=300) | st.sampled_from(HOSTILE))
def test_safe_filename_whatever_comes(text: str) -> None:
    name = safe_filename(text)
    assert 0 < len(name.encode()) <= 201
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert not PureWindowsPath(name).is_reserved()
    assert not any(unicodedata.category(c).startswith("C") for c in name)
    assert safe_filename(name) == name


def test_a_long_file_name_keeps_its_suffix() -> None:
    assert safe_filename("é" * 500 + ".pkl").endswith("é.pkl")


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("best_model_1.pkl", 'attachment; filename="best_model_1.pkl"'),
        ("été.pkl", "attachment; filename=\"ete.pkl\"; filename*=UTF-8''%C3%A9t%C3%A9.pkl"),
        ("模型.pkl", "attachment; filename=\"download.pkl\"; filename*=UTF-8''%E6%A8%A1%E5%9E%8B.pkl"),
        ("100%.csv", "attachment; filename=\"100_.csv\"; filename*=UTF-8''100%25.csv"),
        ('a"; b.pkl', 'attachment; filename="a_; b.pkl"'),
    ],
)
def test_content_disposition(filename: str, header: str) -> None:
    assert content_disposition(filename) == header


@given(st.text(max_size=300) | st.sampled_from(HOSTILE))
def test_content_disposition_whatever_comes(text: str) -> None:
    header = content_disposition(text)
    assert header.isascii() and header.isprintable()
    assert header.count('"') == 2 and "\\" not in header
    message = email.message.Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    extended = re.search(r"filename\*=UTF-8''(.*)$", header)
    told = unquote(extended[1]) if extended else message.get_filename()
    assert told == safe_filename(text)


def test_ten_thousand_parts_hold_what_s3_allows() -> None:
    sizes = [part_bytes(number) for number in range(1, MOST_PARTS + 1)]
    assert sizes[:5000] == [PART_BYTES] * 5000
    assert sizes == sorted(sizes)
    assert sizes[-1] <= 5 * 2**30
    assert sum(sizes) > 5 * 2**40


FEATURES = dict.fromkeys(StoreFeatures.__struct_fields__, True)


@pytest.mark.parametrize(
    ("downloads", "endpoint", "public", "named", "mode"),
    [
        ("auto", "http://127.0.0.1:9000", "", True, "redirect"),
        ("auto", "http://127.0.0.1:9000", "", False, "proxy"),
        ("auto", "http://localhost:9000", "", True, "redirect"),
        ("auto", "http://[::1]:9000", "", True, "redirect"),
        ("auto", "http://store:9000", "", True, "proxy"),
        ("auto", "http://store:9000", "https://files.example.org", True, "redirect"),
        ("auto", "", "", True, "redirect"),
        ("proxy", "https://s3.example.org", "", True, "proxy"),
        ("redirect", "http://store:9000", "", False, "redirect"),
    ],
)
def test_downloads_mode(downloads: str, endpoint: str, public: str, named: bool, mode: str) -> None:
    settings = S3(
        s3_endpoint_url=endpoint,
        s3_public_endpoint_url=public,
        downloads=downloads,  # type: ignore[arg-type]
    )
    features = StoreFeatures(**FEATURES | {"signed_disposition": named})
    assert downloads_mode(settings, features) == mode
