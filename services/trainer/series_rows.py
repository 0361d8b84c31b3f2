"""The rows of a table read as series: every time a time, every target a number, or every fault named.

Faults are told with column, line and value (line 1 is the header of a CSV file with one line a row).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import series_times
from services.trainer.number_text import to_numbers
from shared.contracts.problems import Notice
from shared.errors import CannotTrain, InvalidRequest

LEAST_TRAINING = 8
"""Steps below which statsforecast's ETS refuses a series ("tiny datasets")."""
LEAST_ROWS = LEAST_TRAINING + 2
"""Known rows below which a series can be forecast, but not tested: two more are held out."""
LEAST_KEPT = 3
"""Known rows below which a series among others is left out: two make no more than a line."""
NAMED = 3
"""So many faulty rows or series are named, the others counted."""


class Columns(Struct, frozen=True):
    """The names of a long frame's columns. `known`: those whose values are given for the steps to come as
    well; `static`: those that never change within a series."""

    id: str
    time: str
    target: str
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


class Rows(Struct):
    """`known`: the rows with a target, sorted by series and time: id, time, target, `@code` (of the
    series), `@row` (its position in the table), `@line` in the file. `ahead`: rows without one that lie
    after the last known of their series, with the same columns. `notices`: what was found and done."""

    known: pd.DataFrame
    ahead: pd.DataFrame
    notices: list[Notice]


def read(frame: pd.DataFrame, names: Columns, series_column: str | None) -> Rows:
    """Raises InvalidRequest with all that cannot be read, CannotTrain where no series is long enough."""
    _refuse_names(frame, names, series_column)
    line = np.arange(len(frame)) + 2
    labels = _labels(frame, names, series_column)
    codes, _ = pd.factorize(labels, sort=True)
    reading = series_times.read(frame[names.time], codes)
    given = frame[names.target].reset_index(drop=True)
    target = to_numbers(given)

    faults = [_unreadable("/time_column", names.time, "a time", reading.unreadable, line)]
    missing_time = reading.times.isna().to_numpy() & given.notna().to_numpy()
    missing_time[[position for position, _ in reading.unreadable]] = False
    faults.append(_missing("/time_column", names.time, "time", line[missing_time]))
    bad = given[given.notna() & ~np.isfinite(target)]
    faults.append(_unreadable("/target", names.target, "a number", list(bad.items()), line))
    if series_column:
        nameless = (codes < 0) & given.notna().to_numpy()
        faults.append(_missing("/series_column", series_column, "series", line[nameless]))
    if any(faults):
        raise InvalidRequest([fault for fault in faults if fault])

    rows = pd.DataFrame(
        {
            names.id: labels.to_numpy(),
            names.time: reading.times,
            names.target: target,
            "@code": codes,
            "@row": np.arange(len(frame)),
            "@line": line,
        }
    )
    notices = list(reading.notices)
    known = rows.dropna(subset=[names.target])
    if known.empty:
        raise InvalidRequest([("/target", f"column {names.target!r} is empty")])
    known, said = _without_copies(_in_order(known, names), names)
    notices += said
    _refuse_twice(known, names, series_column)
    known, said = _without_shortest(known, names, series_column)
    notices += said
    rest = rows[rows[names.target].isna() & rows[names.time].notna() & (rows["@code"] >= 0)]
    ahead = _in_order(_after_the_last(rest, known, names), names)
    if without := int(rows[names.target].isna().sum()):
        notices.append(_without_target(names.target, without))
    return Rows(known, ahead, notices)


def lengths(rows: pd.DataFrame, names: Columns, steps: np.ndarray) -> pd.Series:
    """Steps from the first known value of each series to its last, gaps included."""
    spans = pd.Series(steps, index=rows.index).groupby(rows[names.id]).agg(["min", "max"])
    return spans["max"] - spans["min"] + 1


def listed(items: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


def _in_order(rows: pd.DataFrame, names: Columns) -> pd.DataFrame:
    if rows[names.time].dtype == "Int64":
        rows = rows.astype({names.time: "int64"})
    return rows.sort_values(["@code", names.time], kind="stable").reset_index(drop=True)


def _after_the_last(rest: pd.DataFrame, known: pd.DataFrame, names: Columns) -> pd.DataFrame:
    last = known.groupby("@code")[names.time].max()
    rest = rest[rest["@code"].isin(last.index)]
    after = rest[rest[names.time].to_numpy() > last.loc[rest["@code"]].to_numpy()]
    return after.drop_duplicates(["@code", names.time])


def _labels(frame: pd.DataFrame, names: Columns, series_column: str | None) -> pd.Series:
    """Each row's series; text unless they are whole numbers, so that they sort and print alike."""
    if series_column is None:
        return pd.Series(names.target, index=range(len(frame)), dtype=object)
    labels = frame[series_column].reset_index(drop=True)
    if pd.api.types.is_integer_dtype(labels) and not labels.isna().any():
        return labels.astype("int64")
    return labels.astype(object).where(labels.notna(), None).map(str, na_action="ignore")


def _without_copies(rows: pd.DataFrame, names: Columns) -> tuple[pd.DataFrame, list[Notice]]:
    """Rows that say the same of the same step are one; those that say something else are refused later."""
    copies = rows.duplicated(["@code", names.time, names.target])
    if not copies.any():
        return rows, []
    first = rows[copies].iloc[0]
    notice = Notice(
        code="duplicate-rows",
        column=names.time,
        message=f"{int(copies.sum()):,} rows repeat the series, time and target of another row.",
        evidence=f"line {first['@line']} is again {series_times.as_text(first[names.time])}",
        action="Each step was taken once.",
    )
    return rows[~copies].reset_index(drop=True), [notice]


def _without_shortest(
    rows: pd.DataFrame, names: Columns, series_column: str | None
) -> tuple[pd.DataFrame, list[Notice]]:
    """Raises CannotTrain where no series has the rows that a test of a forecast needs."""
    counts = rows.groupby(names.id)[names.target].size().sort_values(kind="stable")
    if counts.iloc[-1] < LEAST_ROWS:
        said = listed([f"{name!r} has {count}" for name, count in counts[::-1].items()])
        raise CannotTrain(f"a series needs at least {LEAST_ROWS} rows with a known {names.target!r}: {said}")
    short = counts[counts < LEAST_KEPT]
    if short.empty or series_column is None:
        return rows, []
    notice = Notice(
        code="series-left-out",
        column=series_column,
        message=f"{len(short):,} of {len(counts):,} series have fewer than {LEAST_KEPT} known values.",
        evidence=listed([f"{name!r} has {count}" for name, count in short.items()]),
        action="They are left out and not forecast.",
    )
    kept = rows[~rows[names.id].isin(short.index)].reset_index(drop=True)
    return kept, [notice]


def _refuse_names(frame: pd.DataFrame, names: Columns, series_column: str | None) -> None:
    asked = [("/time_column", names.time), ("/target", names.target)]
    asked += [("/series_column", series_column)] if series_column else []
    faults = [
        (pointer, f"there is no column {name!r}") for pointer, name in asked if name not in frame.columns
    ]
    for later in range(1, len(asked)):
        twin = next((p for p, name in asked[:later] if name == asked[later][1]), None)
        if twin:
            faults.append((asked[later][0], f"column {asked[later][1]!r} is already the {twin[1:]}"))
    if faults:
        raise InvalidRequest(faults)


def _refuse_twice(rows: pd.DataFrame, names: Columns, series_column: str | None) -> None:
    twice = rows[rows.duplicated(["@code", names.time], keep=False)]
    if twice.empty:
        return
    said = []
    for (_, time), group in list(twice.groupby(["@code", names.time], sort=False))[:NAMED]:
        lines = " and ".join(str(line) for line in sorted(group["@line"])[:NAMED])
        where = f"series {group[names.id].iloc[0]!r} has " if series_column else ""
        said.append(f"{where}{series_times.as_text(time)} more than once (lines {lines})")
    more = int(twice.groupby(["@code", names.time]).ngroups) - len(said)
    detail = f"column {names.time!r}: " + "; ".join(said) + (f"; and {more} more" if more > 0 else "")
    if not series_column:
        detail += ". If the table holds several series, name their column in series_column"
    raise InvalidRequest([("/time_column" if not series_column else "/series_column", detail)])


def _unreadable(
    pointer: str, column: str, kind: str, bad: list[tuple[int, object]], line: np.ndarray
) -> tuple[str, str] | None:
    if not bad:
        return None
    said = listed([f"{str(value)[:60]!r} in line {line[position]}" for position, value in bad])
    return pointer, f"column {column!r}: {said} cannot be read as {kind}"


def _missing(pointer: str, column: str, kind: str, lines: np.ndarray) -> tuple[str, str] | None:
    if not len(lines):
        return None
    return pointer, f"column {column!r}: no {kind} in line {listed([str(number) for number in lines])}"


def _without_target(target: str, count: int) -> Notice:
    return Notice(
        code="missing-target",
        column=target,
        message=f"{count} rows have no {target!r}.",
        evidence=f"{count} rows",
        action="Between known values they are gaps, before the first they were left out, "
        "after the last they are the time to come.",
    )
