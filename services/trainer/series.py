"""A table as time series: what can be forecast from it, and the regular series that models are fitted on.

A long frame has three columns: the series, the time and the target, under the user's own names; rows are
sorted by series and time. Where a table is one series, it gets a column `unique_id` that names the target.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import series_times
from services.trainer.number_text import to_numbers
from shared.contracts import Notice, Plan
from shared.errors import CannotTrain, InvalidRequest

LEAST_TRAINING = 8
"""Steps below which statsforecast's ETS refuses a series ("tiny datasets")."""
_NAMED = 3
"""So many faulty rows or series are named, the others counted."""


MEAN = "@mean"
"""The column of forecasts beside a long frame's own; "mean" may well be one of the user's."""


class Columns(Struct, frozen=True):
    """The names of a long frame's columns."""

    id: str
    time: str
    target: str


class SeriesFacts(Struct, kw_only=True):
    """What `plan` has to know: see `series_times` for `frequency`; lengths and `horizon` in steps.

    `windows`: backtests that fit before the held-out `horizon`. `series`: how many there are.
    `split_digest`: SHA-256 over each series' name and first held-out step.
    """

    frequency: str
    season_length: int
    horizon: int
    windows: int
    series: int
    shortest: int
    longest: int
    split_digest: str
    warnings: list[Notice]


def columns(target: str, time_column: str, series_column: str | None) -> Columns:
    taken = {target, time_column}
    free = next(name for name in ("unique_id", "series", "series_id") if name not in taken)
    return Columns(id=series_column or free, time=time_column, target=target)


def describe(
    frame: pd.DataFrame, time_column: str, series_column: str | None, target: str, horizon: int | None
) -> SeriesFacts:
    """Frequency, season, horizon and backtests of a table; the default horizon is two seasons or a tenth of
    the shortest series, whichever is less.

    Raises InvalidRequest naming column, line and value of what cannot be read, CannotTrain where a series is
    too short for any forecast.
    """
    names = columns(target, time_column, series_column)
    rows, notices = _read(frame, names, series_column)
    alias = series_times.frequency(rows[names.time], rows["code"].to_numpy())
    _refuse_short(rows, names)
    _refuse_constant(rows, names)
    if alias is None:
        raise InvalidRequest([("/time_column", _uneven(rows, names))])
    placed = series_times.place(rows[names.time], rows["code"].to_numpy(), alias)
    lengths = _lengths(rows, names, placed.steps)
    notices += _grid_notices(rows, names, placed, lengths, alias)
    shortest = lengths.idxmin()
    n = int(lengths.min())

    usual = series_times.season_length(alias)
    chosen = horizon or max(1, min(2 * usual, n // 10))
    longest_horizon = (n - LEAST_TRAINING) // 2
    if chosen > longest_horizon:
        raise InvalidRequest([("/horizon", _too_far(chosen, longest_horizon, lengths, series_column))])
    season = usual if n - 2 * chosen >= 2 * usual else 1
    if season != usual:
        notices.append(
            Notice(
                code="season-not-used",
                column=names.time,
                message=f"The season of {usual} is not used: {_name(shortest, series_column)} has {n} steps.",
                evidence=f"{2 * usual} steps are needed before the {2 * chosen} that test a forecast",
                action="The models were fitted without a season.",
            )
        )
    if horizon is None and len(lengths) > 1 and n // 10 < min(2 * usual, int(lengths.median()) // 10):
        notices.append(
            Notice(
                code="short-series",
                column=names.id,
                message=f"The shortest series, {shortest!r} with {n} steps, sets the horizon for all.",
                evidence=f"half of the series have {int(lengths.median())} steps or more",
                action=f"The horizon is {chosen}; give `horizon` or leave short series out for a longer one.",
            )
        )
    room = (n - chosen - max(LEAST_TRAINING, 2 * season if season > 1 else 0)) // chosen
    return SeriesFacts(
        frequency=alias,
        season_length=season,
        horizon=chosen,
        # short horizons are cheap to repeat and say little each
        windows=max(1, min(room, max(3, min(10, 12 // chosen)))),
        series=len(lengths),
        shortest=n,
        longest=int(lengths.max()),
        split_digest=_digest(rows, names, placed.steps, chosen),
        warnings=notices,
    )


def prepare(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The long frame: one row a step from each series' first known value to its last, NaN in the gaps.

    Raises InvalidRequest as `describe` does, and where the times are off the plan's frequency.
    """
    if plan.time_column is None or plan.frequency is None:
        raise InvalidRequest([("/time_column", "a time series needs a time column")])
    names = columns(plan.target, plan.time_column, plan.series_column)
    rows, _ = _read(frame, names, plan.series_column)
    codes = rows["code"].to_numpy()
    try:
        placed = series_times.place(rows[names.time], codes, plan.frequency)
    except ValueError as error:
        raise InvalidRequest([("/time_column", str(error))]) from None
    rows = rows.assign(step=placed.steps)
    spans = rows.groupby("code")["step"].agg(["min", "max"])
    sizes = (spans["max"] - spans["min"] + 1).to_numpy()
    full = pd.DataFrame({"code": np.repeat(spans.index.to_numpy(), sizes)})
    offset = full.groupby("code").cumcount().to_numpy()
    full["step"] = np.repeat(spans["min"].to_numpy(), sizes) + offset
    full = full.merge(rows[["code", "step", names.target]], how="left", on=["code", "step"])
    labels = rows.drop_duplicates("code").set_index("code")[names.id]
    return pd.DataFrame(
        {
            names.id: labels.loc[full["code"]].to_numpy(),
            names.time: placed.moments(full["code"].to_numpy(), full["step"].to_numpy()).to_numpy(),
            names.target: full[names.target].to_numpy(dtype="float64"),
        }
    )


def filled(long: pd.DataFrame, names: Columns) -> pd.DataFrame:
    """`long` with its gaps on straight lines between their neighbours, the last value carried to the end.

    Called on the part a model may see, so no gap is filled from what is held out.
    """
    if not long[names.target].isna().any():
        return long
    lines = long.groupby(names.id, sort=False)[names.target].transform(
        lambda values: values.interpolate().ffill()
    )
    return long.assign(**{names.target: lines}).dropna(subset=[names.target])


# --- reading ------------------------------------------------------------------------------------


def _read(
    frame: pd.DataFrame, names: Columns, series_column: str | None
) -> tuple[pd.DataFrame, list[Notice]]:
    """The rows with a known target, sorted: id, time, target, `code` (of the series), `line` in the file."""
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
            "code": codes,
            "line": line,
        }
    )
    notices = list(reading.notices)
    known = rows.dropna(subset=[names.target])
    if known.empty:
        raise InvalidRequest([("/target", f"column {names.target!r} is empty")])
    if len(known) < len(rows):
        notices.append(_without_target(names.target, len(rows) - len(known)))
    if known[names.time].dtype == "Int64":
        known = known.astype({names.time: "int64"})
    known = known.sort_values(["code", names.time], kind="stable").reset_index(drop=True)
    _refuse_twice(known, names, series_column)
    return known, notices


def _labels(frame: pd.DataFrame, names: Columns, series_column: str | None) -> pd.Series:
    """Each row's series; text unless they are whole numbers, so that they sort and print alike."""
    if series_column is None:
        return pd.Series(names.target, index=range(len(frame)), dtype=object)
    labels = frame[series_column].reset_index(drop=True)
    if pd.api.types.is_integer_dtype(labels) and not labels.isna().any():
        return labels.astype("int64")
    return labels.astype(object).where(labels.notna(), None).map(str, na_action="ignore")


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
    twice = rows[rows.duplicated(["code", names.time], keep=False)]
    if twice.empty:
        return
    said = []
    for (_, time), group in list(twice.groupby(["code", names.time], sort=False))[:_NAMED]:
        lines = " and ".join(str(line) for line in sorted(group["line"])[:_NAMED])
        where = f"series {group[names.id].iloc[0]!r} has " if series_column else ""
        said.append(f"{where}{series_times.as_text(time)} more than once (lines {lines})")
    more = int(twice.groupby(["code", names.time]).ngroups) - len(said)
    detail = f"column {names.time!r}: " + "; ".join(said) + (f"; and {more} more" if more > 0 else "")
    if not series_column:
        detail += ". If the table holds several series, name their column in series_column"
    raise InvalidRequest([("/time_column" if not series_column else "/series_column", detail)])


def _refuse_short(rows: pd.DataFrame, names: Columns) -> None:
    counts = rows.groupby(names.id)[names.target].size().sort_values(kind="stable")
    need = LEAST_TRAINING + 2
    short = counts[counts < need]
    if short.empty:
        return
    said = ", ".join(f"{name!r} has {count}" for name, count in short.iloc[:_NAMED].items())
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    raise CannotTrain(f"a series needs at least {need} rows with a known {names.target!r}: {said}{more}")


def _refuse_constant(rows: pd.DataFrame, names: Columns) -> None:
    if (rows.groupby("code")[names.target].nunique() >= 2).any():
        return
    values = rows[names.target].unique()
    same = f"it is {values[0]:g} everywhere" if len(values) == 1 else "within any of the series"
    raise InvalidRequest([("/target", f"column {names.target!r} never changes ({same})")])


# --- what is said -------------------------------------------------------------------------------


def _unreadable(
    pointer: str, column: str, kind: str, bad: list[tuple[int, object]], line: np.ndarray
) -> tuple[str, str] | None:
    if not bad:
        return None
    said = ", ".join(f"{str(value)[:60]!r} in line {line[position]}" for position, value in bad[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return pointer, f"column {column!r}: {said}{more} cannot be read as {kind}"


def _missing(pointer: str, column: str, kind: str, lines: np.ndarray) -> tuple[str, str] | None:
    if not len(lines):
        return None
    said = ", ".join(str(number) for number in lines[:_NAMED])
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return pointer, f"column {column!r}: no {kind} in line {said}{more}"


def _name(series: object, series_column: str | None) -> str:
    return f"series {series!r}" if series_column else "the series"


def _too_far(horizon: int, limit: int, lengths: pd.Series, series_column: str | None) -> str:
    short = lengths[(lengths - LEAST_TRAINING) // 2 < horizon].sort_values(kind="stable")
    said = ", ".join(f"{_name(s, series_column)} has {n} steps" for s, n in short.iloc[:_NAMED].items())
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    need = 2 * horizon + LEAST_TRAINING
    return f"{said}{more}; a horizon of {horizon} needs {need} (at most {limit} is possible here)"


def _uneven(rows: pd.DataFrame, names: Columns) -> str:
    apart = series_times.extremes(rows[names.time], rows["code"].to_numpy())
    return (
        f"column {names.time!r}: the times have no common step (neighbours lie between {apart} apart); "
        "give one row a day, week, month … for each series"
    )


def _without_target(target: str, count: int) -> Notice:
    return Notice(
        code="missing-target",
        column=target,
        message=f"{count} rows have no {target!r}.",
        evidence=f"{count} rows",
        action="Between known values they are gaps; before the first and after the last they were left out.",
    )


def _grid_notices(
    rows: pd.DataFrame, names: Columns, placed: series_times.Placed, lengths: pd.Series, alias: str
) -> list[Notice]:
    notices = []
    if placed.moved:
        notices.append(
            Notice(
                code="irregular-times",
                column=names.time,
                message=f"{placed.moved} of {len(rows)} times are not evenly spaced.",
                evidence=f"one row a period was found at the frequency {alias}",
                action="Each was moved to the start of its period.",
            )
        )
    gaps = int(lengths.sum()) - len(rows)
    if gaps:
        notices.append(
            Notice(
                code="gaps-filled",
                column=names.time,
                message=f"{gaps} of {int(lengths.sum())} steps at the frequency {alias} have no value.",
                evidence=f"{gaps / int(lengths.sum()):.1%} of the steps",
                action="They were filled on a straight line between their neighbours for fitting; "
                "held-out steps without a value are not scored.",
            )
        )
    return notices


def _lengths(rows: pd.DataFrame, names: Columns, steps: np.ndarray) -> pd.Series:
    spans = pd.Series(steps, index=rows.index).groupby(rows[names.id]).agg(["min", "max"])
    return spans["max"] - spans["min"] + 1


def _digest(rows: pd.DataFrame, names: Columns, steps: np.ndarray, horizon: int) -> str:
    last = pd.Series(steps, index=rows.index).groupby(rows[names.id]).max()
    text = "\n".join(f"{name}\t{step - horizon + 1}" for name, step in last.items())
    return hashlib.sha256(text.encode()).hexdigest()
