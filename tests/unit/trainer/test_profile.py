"""What a profile says of a table: roles, numbers, a likely target, and warnings that are true."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from msgspec import UNSET
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from services.trainer import profile as profile_module
from services.trainer import table
from services.trainer.profile import profile
from shared.contracts.files import ColumnProfile, Profile
from shared.contracts.states import TaskType

N = 300


def profiled(frame: pd.DataFrame, folder: Path) -> Profile:
    (folder / "upload").write_bytes(frame.to_csv(index=False).encode())
    table.decode(folder / "upload", "upload.csv", folder / "table.arrow")
    return profile(folder / "table.arrow")


def column(values: object, folder: Path, name: str = "x") -> tuple[ColumnProfile, list[str]]:
    """The profile of one column, and the codes of what is warned of it."""
    made = profiled(pd.DataFrame({name: values, "other": np.arange(len(values)) % 7 * 1.5}), folder)
    return made.columns[0], [notice.code for notice in made.warnings if notice.column == name]


ROLES: list[tuple[str, str, object, str, list[str]]] = [
    ("floats", "x", np.arange(N) * 0.37, "numeric", []),
    ("whole numbers", "x", [i % 40 for i in range(N)], "numeric", []),
    ("zeros and ones", "x", [i % 2 for i in range(N)], "numeric", []),
    ("unordered distinct whole numbers", "population", [(i * 7919) % 99991 for i in range(N)], "numeric", []),
    ("years in order", "year", range(1700, 1700 + N), "numeric", []),
    ("true and false", "x", [i % 3 == 0 for i in range(N)], "boolean", []),
    ("true, false, missing", "x", [None if i % 5 == 0 else i % 3 == 0 for i in range(N)], "boolean", []),
    ("words", "x", [("red", "green")[i % 2] for i in range(N)], "categorical", []),
    ("dollars", "x", [f"${i * 37:,}" for i in range(N)], "numeric", ["numbers-as-text"]),
    ("percents", "x", [f"{i % 50}%" for i in range(N)], "numeric", ["numbers-as-text"]),
    ("decimal commas", "x", [f"{i},5" for i in range(N)], "numeric", ["numbers-as-text"]),
    ("numbers but for ?", "x", ["?" if i % 60 == 0 else i for i in range(N)], "numeric", ["not-numbers"]),
    ("as many words as numbers", "x", [("?" if i % 2 else str(i % 9)) for i in range(N)], "categorical", []),
    ("ISO dates", "x", pd.date_range("2020", periods=N).astype(str), "datetime", []),
    ("times with a zone", "x", [f"2020-01-01T{i % 24:02d}:00:00+02:00" for i in range(N)], "datetime", []),
    ("day first", "x", [f"{i % 28 + 1:02d}/{i % 12 + 1:02d}/2020" for i in range(N)], "datetime", []),
    ("months by name", "x", [f"{i % 28 + 1} Jan 2021" for i in range(N)], "datetime", []),
    (
        "dates in two formats",
        "x",
        [f"2020-01-{i % 28 + 1:02d}" if i % 2 else f"{i % 28 + 1} Jan 2021" for i in range(N)],
        "datetime",
        ["mixed-dates"],
    ),
    ("months and years", "x", pd.date_range("1990", periods=N, freq="MS").strftime("%b %Y"), "datetime", []),
    ("quarters", "x", [f"{1950 + i // 4}Q{i % 4 + 1}" for i in range(N)], "datetime", []),
    ("days as numbers", "date", [20200101 + i % 28 for i in range(N)], "datetime", []),
    ("such numbers of something else", "x", [20200101 + i % 28 for i in range(N)], "numeric", []),
    ("seconds since 1970", "timestamp", [1_600_000_000 + 997 * i for i in range(N)], "datetime", []),
    ("yes and no", "x", [("yes", "no")[i % 2] for i in range(N)], "boolean", []),
    (
        "yes and no in many words",
        "x",
        [("Yes", "y", "no ", "FALSE")[i % 4] for i in range(N)],
        "boolean",
        ["mixed-spellings"],
    ),
    (
        "towns in capitals and not",
        "x",
        [("Rome", "ROME", "Oslo")[i % 3] for i in range(N)],
        "categorical",
        ["mixed-spellings"],
    ),
    ("addresses are no dates", "x", [f"10.0.{i % 5}.{i % 9}" for i in range(N)], "categorical", []),
    ("sentences", "x", [f"the quick brown fox number {i}" for i in range(N)], "text", []),
    ("names", "Name", [f"Smith, Mr. John {i}" for i in range(N)], "text", []),
    ("numbers of rows", "PassengerId", range(1, N + 1), "identifier", ["identifier-column"]),
    ("an index by pandas", "Unnamed: 0", range(N), "identifier", ["identifier-column"]),
    ("a count without a name", "nr_x", range(500, 500 + N), "identifier", ["identifier-column"]),
    (
        "ids in no order",
        "order_id",
        [(i * 7919) % 99991 for i in range(N)],
        "identifier",
        ["identifier-column"],
    ),
    ("ids that come back", "customer_id", [i % 30 for i in range(N)], "numeric", []),
    ("hashes", "x", [f"u{i * 7919:08x}" for i in range(N)], "identifier", ["identifier-column"]),
    ("nothing", "x", [None] * N, "empty", ["empty-column"]),
    ("one word", "x", ["same"] * N, "constant", ["constant-column"]),
    ("one number", "x", [4.5] * N, "constant", ["constant-column"]),
    ("one date", "x", ["2024-01-01"] * N, "constant", ["constant-column"]),
    ("a word or nothing", "x", ["yes" if i % 3 else None for i in range(N)], "categorical", []),
    (
        "hardly anything",
        "x",
        [i * 0.5 if i % 10 == 0 else None for i in range(N)],
        "numeric",
        ["many-missing"],
    ),
    ("infinities", "x", [np.inf if i == 7 else i * 0.5 for i in range(N)], "numeric", ["infinite-values"]),
]


@pytest.mark.parametrize(
    ("name", "values", "role", "codes"), [r[1:] for r in ROLES], ids=[r[0] for r in ROLES]
)
def test_role_and_warnings(name: str, values: object, role: str, codes: list[str], tmp_path: Path) -> None:
    made, warned = column(values, tmp_path, name)
    assert (made.role, warned) == (role, codes)


def test_numbers_of_a_numeric_column(tmp_path: Path) -> None:
    made, _ = column([1.0, 1.0, 2.0, None, 4.0, np.inf], tmp_path)
    assert (made.missing, made.distinct, made.min, made.max, made.mean) == (1, 4, 1.0, 4.0, 2.0)
    assert made.histogram is not UNSET
    assert sum(part.count for part in made.histogram) == 4
    assert (made.histogram[0].from_, made.histogram[-1].to) == (1.0, 4.0)
    assert b'"from":1.0' in msgspec.json.encode(made)


def test_numbers_of_a_column_of_text(tmp_path: Path) -> None:
    made, _ = column(["$1,000", "$3,000", "$2,000"] * 9, tmp_path)
    assert (made.dtype, made.min, made.max, made.mean) == ("object", 1000.0, 3000.0, 2000.0)


def test_the_most_frequent_values_of_a_categorical_column(tmp_path: Path) -> None:
    made, _ = column(["b"] * 5 + ["a"] * 9 + ["c"], tmp_path)
    assert made.top is not UNSET
    assert [(entry.value, entry.count) for entry in made.top] == [("a", 9), ("b", 5), ("c", 1)]
    assert made.histogram is UNSET


def test_first_and_last_date(tmp_path: Path) -> None:
    made, _ = column(["03/02/2024", "25/12/2023", "14/07/2024"] * 9, tmp_path)
    assert str(made.min).startswith("2023-12-25")
    assert str(made.max).startswith("2024-07-14")


def test_the_largest_floats_make_no_infinity(tmp_path: Path) -> None:
    made, _ = column([1.7e308, -1.7e308, 1.6e308], tmp_path)
    assert (made.min, made.max, made.histogram) == (-1.7e308, 1.7e308, UNSET)


@pytest.mark.parametrize(
    ("load", "target", "task_type"),
    [
        (load_iris, "target", TaskType.CLASSIFICATION),
        (load_wine, "target", TaskType.CLASSIFICATION),
        (load_breast_cancer, "target", TaskType.CLASSIFICATION),
        (load_diabetes, "target", TaskType.REGRESSION),
    ],
)
def test_real_tables_get_their_target_and_no_alarm(
    load: object, target: str, task_type: TaskType, tmp_path: Path
) -> None:
    made = profiled(load(as_frame=True).frame, tmp_path)
    assert (made.suggested_target, made.suggested_task_type) == (target, task_type)
    assert "'target' is named like a target" in made.reason
    assert made.warnings == []
    assert {c.role for c in made.columns} == {"numeric"}


def test_the_last_column_that_could_be_learned_is_suggested(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": range(40), "b": [0.5, 1.5] * 20, "note": [f"w {i} of words" for i in range(40)]}
    )
    made = profiled(frame, tmp_path)
    assert (made.suggested_target, made.suggested_task_type) == ("b", TaskType.REGRESSION)
    assert "last column that could be learned" in made.reason


def test_nothing_is_suggested_where_nothing_can_be_learned(tmp_path: Path) -> None:
    made = profiled(pd.DataFrame({"a": [1] * 30, "b": [None] * 30}), tmp_path)
    assert (made.suggested_target, made.suggested_task_type) == (None, None)
    assert "No column" in made.reason


def test_a_steady_pace_of_dates_suggests_a_time_series(tmp_path: Path) -> None:
    dates = pd.date_range("2010", periods=60, freq="MS").astype(str)
    rng = np.random.default_rng(0)
    alone = profiled(pd.DataFrame({"month": dates, "y": rng.normal(size=60)}), tmp_path)
    assert alone.suggested_task_type is TaskType.TIME_SERIES
    assert "'month' has one row a step (MS)" in alone.reason
    assert (alone.suggested_time_column, alone.suggested_series_column) == ("month", UNSET)
    panel = pd.DataFrame(
        {"month": [*dates, *dates], "shop": ["a"] * 60 + ["b"] * 60, "y": rng.normal(size=120)}
    )
    several = profiled(panel, tmp_path)
    assert several.suggested_task_type is TaskType.TIME_SERIES
    assert "for each 'shop'" in several.reason
    assert (several.suggested_time_column, several.suggested_series_column) == ("month", "shop")


def test_dates_at_random_suggest_no_time_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 4000, 80), unit="D")
    made = profiled(pd.DataFrame({"born": days.astype(str), "y": rng.normal(size=80)}), tmp_path)
    assert made.suggested_task_type is TaskType.REGRESSION
    assert made.suggested_time_column is UNSET


def test_copied_rows_and_columns_are_found(tmp_path: Path) -> None:
    frame = load_wine(as_frame=True).frame
    frame["alcohol again"] = frame["alcohol"]
    made = profiled(pd.concat([frame, frame.iloc[:12]]), tmp_path)
    notices = {notice.code: notice for notice in made.warnings}
    assert notices.keys() == {"duplicate-column", "duplicate-rows"}
    assert notices["duplicate-column"].column == "alcohol again"
    assert "'alcohol'" in notices["duplicate-column"].message
    assert "12 rows" in notices["duplicate-rows"].message
    assert "line 180" in str(notices["duplicate-rows"].evidence)


def test_rows_that_are_alike_by_chance_are_no_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.choice(list("xyz"), 500), "b": rng.choice(list("xyz"), 500)})
    assert profiled(frame, tmp_path).warnings == []


def test_says_where_only_a_part_of_the_rows_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_module, "COMPARED_ROWS", 100)
    frame = load_diabetes(as_frame=True).frame
    made = profiled(pd.concat([frame.iloc[:50], frame]), tmp_path)
    assert "the first 100 of 492 rows" in str(made.warnings[0].evidence)


def test_says_where_an_infinity_and_an_odd_word_are(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"x": [1.5] * 20 + [np.inf] + [2.5] * 19, "n": ["unknown"] + [str(i) for i in range(39)]}
    )
    notices = {notice.column: notice for notice in profiled(frame, tmp_path).warnings}
    assert "line 22" in str(notices["x"].evidence)
    assert "'x'" in notices["x"].message
    assert "'unknown'" in str(notices["n"].evidence)


def test_survives_json(tmp_path: Path) -> None:
    made = profiled(load_iris(as_frame=True).frame, tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Profile) == made


def test_dates_of_parquet_are_dates(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"at": pd.date_range("2024", periods=9, tz="UTC"), "day": pd.date_range("2024", periods=9).date}
    )
    sink = io.BytesIO()
    frame.to_parquet(sink)
    (tmp_path / "upload").write_bytes(sink.getvalue())
    table.decode(tmp_path / "upload", "t.parquet", tmp_path / "table.arrow")
    made = profile(tmp_path / "table.arrow")
    assert [c.role for c in made.columns] == ["datetime", "datetime"]
    assert str(made.columns[1].max).startswith("2024-01-09")


def test_a_wide_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(30, 400)), columns=[f"c{i}" for i in range(400)])
    made = profiled(pd.concat([frame, frame.iloc[:3]]), tmp_path)
    assert len(made.columns) == 400
    assert [notice.code for notice in made.warnings] == ["duplicate-rows"]


def test_tells_how_far_it_is(tmp_path: Path) -> None:
    profiled(load_iris(as_frame=True).frame, tmp_path)
    told: list[float] = []
    profile(tmp_path / "table.arrow", lambda share, _: told.append(share))
    assert told == [0.2, 0.4, 0.6, 0.8, 1.0]
