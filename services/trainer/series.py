"""A table as time series: what can be forecast from it, and the regular series that models are fitted on.

A long frame has the columns of `Columns`: the series, the time, the target and what is known beside them,
under the user's own names; rows are sorted by series and time. Where a table is one series, it gets a
column `unique_id` that names the target.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import series_extra, series_rows, series_seasons, series_times
from services.trainer.series_rows import LEAST_TRAINING, Columns, Rows, lengths, listed
from shared.contracts.problems import Notice
from shared.contracts.training import Plan
from shared.errors import InvalidRequest

MEAN = "@mean"
"""The column of forecasts beside a long frame's own; "mean" may well be one of the user's."""

BACKTESTS = 5
INTERMITTENT = 0.3
"""Share of zeros among values that are never below from which on demand counts as intermittent."""


SMALL = 2_500
"""Steps times the season: what AutoARIMA takes grows with both."""


class SeriesFacts(Struct, kw_only=True):
    """What `plan` has to know: see `series_times` for `frequency`; lengths and `horizon` in steps.

    `seasons`: `season_length` and longer ones. `windows`: backtests that fit before the held-out `horizon`.
    `series`: how many there are; `scored`: how many of them are long enough to be tested. `roles`: of the
    columns that models may use beside the target; `known` and `static` are their names. `intermittent`:
    whether much of the target is zero; `small`: whether a seasonal ARIMA takes but seconds.
    `split_digest`: SHA-256 over each series' name and first held-out step.
    """

    frequency: str
    season_length: int
    seasons: list[int]
    horizon: int
    windows: int
    series: int
    scored: int
    shortest: int
    longest: int
    roles: dict[str, str]
    known: list[str]
    static: list[str]
    intermittent: bool
    small: bool
    split_digest: str
    warnings: list[Notice]

    def details(self) -> dict[str, object]:
        """What of it a plan keeps beside its own fields."""
        names = ("windows", "series", "scored", "shortest", "longest", "seasons", "known", "static")
        return {name: getattr(self, name) for name in names}


class Prepared(Struct):
    """`long`: one row a step from each series' first known value to its last, the target NaN in gaps.
    `future`: the rows after those, for `steps` of each series, without the target; None where no column is
    known ahead."""

    long: pd.DataFrame
    future: pd.DataFrame | None


def columns(
    target: str,
    time_column: str,
    series_column: str | None,
    known: tuple[str, ...] = (),
    static: tuple[str, ...] = (),
) -> Columns:
    taken = {target, time_column, *known, *static}
    free = next(name for name in ("unique_id", "series", "series_id", "series_name") if name not in taken)
    return Columns(id=series_column or free, time=time_column, target=target, known=known, static=static)


def columns_of(plan: Plan) -> Columns:
    """Raises InvalidRequest where the plan is none of a time series."""
    if plan.time_column is None or plan.frequency is None or plan.horizon is None:
        raise InvalidRequest([("/time_column", "a time series needs a time column")])
    extra = [tuple(plan.details.get(kind, ())) for kind in ("known", "static")]
    return columns(plan.target, plan.time_column, plan.series_column, *extra)


def describe(
    frame: pd.DataFrame,
    time_column: str,
    series_column: str | None,
    target: str,
    horizon: int | None,
    backtests: int = BACKTESTS,
) -> SeriesFacts:
    """Frequency, season, horizon, backtests and useful columns of a table. The default horizon is as many
    steps as rows without a target ask for, where these have more than a time to say; else two seasons or a
    tenth of a usual series, whichever is less.

    Raises InvalidRequest naming column, line and value of what cannot be read, CannotTrain where every
    series is too short for any forecast.
    """
    names = columns(target, time_column, series_column)
    rows = series_rows.read(frame, names, series_column)
    known = rows.known
    codes = known["@code"].to_numpy()
    alias = series_times.frequency(known[names.time], codes)
    _refuse_constant(known, names)
    if alias is None:
        raise InvalidRequest([("/time_column", _uneven(known, names))])
    placed = series_times.place(known[names.time], codes, alias)
    sizes = lengths(known, names, placed.steps)
    notices = rows.notices + _grid_notices(known, names, placed, sizes, alias)

    ahead = series_extra.steps_ahead(rows, placed.steps, _steps_of_ahead(rows, names, alias))
    extra = series_extra.describe(frame, rows, names, series_column, ahead, horizon)
    notices += extra.notices
    counted = alias.isdigit()
    usual = (
        series_seasons.counted(known[names.target], codes) if counted else series_times.season_length(alias)
    )
    typical = int(sizes.median())
    longest_horizon = (int(sizes.max()) - LEAST_TRAINING) // 2
    chosen = horizon or min(extra.steps, longest_horizon) or max(1, min(2 * usual, typical // 10))
    if chosen > longest_horizon:
        raise InvalidRequest([("/horizon", _too_far(chosen, longest_horizon, sizes, series_column))])
    scored = sizes[sizes >= 2 * chosen + LEAST_TRAINING]
    reference = int(scored.median())
    season = usual if reference - 2 * chosen >= 2 * usual else 1
    if counted and season > 1:
        notices.append(_season_found(names.time, season))
    if season != usual:
        notices.append(_season_not_used(names.time, usual, sizes, reference, chosen, series_column))
    if len(scored) < len(sizes):
        notices.append(_short_series(names.id, sizes, scored, chosen))
    room = (reference - chosen - max(LEAST_TRAINING, 2 * season if season > 1 else 0)) // chosen
    zeros = float((known[names.target] == 0).mean()) if known[names.target].min() >= 0 else 0.0
    return SeriesFacts(
        frequency=alias,
        season_length=season,
        seasons=series_seasons.all_seasons(alias, season, reference - 2 * chosen),
        horizon=chosen,
        # short horizons are cheap to repeat and say little each
        windows=max(1, min(room, max(backtests, min(10, 12 // chosen)))),
        series=len(sizes),
        scored=len(scored),
        shortest=int(sizes.min()),
        longest=int(sizes.max()),
        roles={**extra.known, **extra.static},
        known=list(extra.known),
        static=list(extra.static),
        intermittent=zeros >= INTERMITTENT,
        small=int(sizes.sum()) * season <= SMALL,
        split_digest=_digest(known, names, placed.steps, chosen),
        warnings=notices,
    )


def prepare(frame: pd.DataFrame, plan: Plan) -> Prepared:
    """The series on their grid, with the columns that the plan found useful.

    Raises InvalidRequest as `describe` does, and where the times are off the plan's frequency.
    """
    names = columns_of(plan)
    rows = series_rows.read(frame, names, plan.series_column)
    parts = [rows.known, rows.ahead] if names.known else [rows.known]
    every = pd.concat(parts, ignore_index=True)
    try:
        placed = series_times.place(every[names.time], every["@code"].to_numpy(), str(plan.frequency))
    except ValueError as error:
        raise InvalidRequest([("/time_column", str(error))]) from None
    every["@step"] = placed.steps
    known = every.iloc[: len(rows.known)]
    spans = known.groupby("@code")["@step"].agg(["min", "max"])
    extent = spans["max"] + (int(plan.horizon or 0) if names.known else 0)
    sizes = (extent - spans["min"] + 1).to_numpy()
    full = pd.DataFrame({"@code": np.repeat(spans.index.to_numpy(), sizes)})
    full["@step"] = np.repeat(spans["min"].to_numpy(), sizes) + full.groupby("@code").cumcount().to_numpy()
    beyond = full["@step"].to_numpy() > np.repeat(spans["max"].to_numpy(), sizes)
    full = full.merge(every[["@code", "@step", "@row", names.target]], how="left", on=["@code", "@step"])
    labels = known.drop_duplicates("@code").set_index("@code")[names.id]
    long = pd.DataFrame(
        {
            names.id: labels.loc[full["@code"]].to_numpy(),
            names.time: placed.moments(full["@code"].to_numpy(), full["@step"].to_numpy()).to_numpy(),
            names.target: full[names.target].to_numpy(dtype="float64"),
        }
    )
    for name in (*names.known, *names.static):
        given = series_extra.values(frame[name].reset_index(drop=True), plan.roles[name])
        found = given.reindex(full["@row"]).reset_index(drop=True)
        by_series = found.groupby(full["@code"])
        # gaps: a plan holds until another is made
        if name in names.known:
            long[name] = by_series.ffill().groupby(full["@code"]).bfill()
        else:
            long[name] = by_series.transform("first")
    future = long[beyond].drop(columns=[names.target, *names.static]) if names.known else None
    return Prepared(
        long=long[~beyond].reset_index(drop=True),
        future=None if future is None else future.reset_index(drop=True),
    )


def filled(long: pd.DataFrame, names: Columns) -> pd.DataFrame:
    """`long` with its gaps on straight lines between their neighbours, the last value carried to the end.

    Called on the part a model may see, so no gap is filled from what is held out.
    """
    if not long[names.target].isna().any():
        return long
    by = long[names.id]
    values = long[names.target]
    at = pd.Series(np.arange(len(long), dtype=float), index=long.index)
    before, after = values.groupby(by, sort=False).ffill(), values.groupby(by, sort=False).bfill()
    start = at.where(values.notna()).groupby(by, sort=False).ffill()
    end = at.where(values.notna()).groupby(by, sort=False).bfill()
    share = ((at - start) / (end - start).where(end > start, 1.0)).fillna(0.0)
    line = before + (after.fillna(before) - before) * share
    return long.assign(**{names.target: values.where(values.notna(), line)}).dropna(subset=[names.target])


def _steps_of_ahead(rows: Rows, names: Columns, alias: str) -> np.ndarray:
    """(n,) steps of the rows ahead on the grid of the known ones; what is off it is far away."""
    if rows.ahead.empty:
        return np.zeros(0, dtype="int64")
    every = pd.concat([rows.known, rows.ahead], ignore_index=True)
    try:
        placed = series_times.place(every[names.time], every["@code"].to_numpy(), alias)
    except ValueError:
        return np.full(len(rows.ahead), -1, dtype="int64")
    return placed.steps[len(rows.known) :]


def _refuse_constant(rows: pd.DataFrame, names: Columns) -> None:
    if (rows.groupby("@code")[names.target].nunique() >= 2).any():
        return
    values = rows[names.target].unique()
    same = f"it is {values[0]:g} everywhere" if len(values) == 1 else "within any of the series"
    raise InvalidRequest([("/target", f"column {names.target!r} never changes ({same})")])


# --- what is said -------------------------------------------------------------------------------


def _name(series: object, series_column: str | None) -> str:
    return f"series {series!r}" if series_column else "the series"


def _too_far(horizon: int, limit: int, sizes: pd.Series, series_column: str | None) -> str:
    ordered = sizes.sort_values(ascending=False, kind="stable")
    said = listed([f"{_name(s, series_column)} has {n} steps" for s, n in ordered.items()])
    need = 2 * horizon + LEAST_TRAINING
    return f"{said}; a horizon of {horizon} needs {need} (at most {limit} is possible here)"


def _uneven(rows: pd.DataFrame, names: Columns) -> str:
    apart = series_times.extremes(rows[names.time], rows["@code"].to_numpy())
    return (
        f"column {names.time!r}: the times have no common step (neighbours lie between {apart} apart); "
        "give one row a day, week, month … for each series"
    )


def _season_found(time: str, season: int) -> Notice:
    return Notice(
        code="season-found",
        column=time,
        message=f"The times are counted, and the values repeat every {season} steps.",
        evidence=f"changes from step to step resemble those {season} steps before",
        action=f"A season of {season} is used. Give dates instead of numbers to have the calendar's.",
    )


def _season_not_used(
    time: str, usual: int, sizes: pd.Series, reference: int, horizon: int, series_column: str | None
) -> Notice:
    who = _name(sizes.index[0], series_column) if len(sizes) == 1 else "half of the series"
    has = f"has {reference}" if len(sizes) == 1 else f"have at most {reference}"
    return Notice(
        code="season-not-used",
        column=time,
        message=f"The season of {usual} is not used: {who} {has} steps.",
        evidence=f"{2 * usual} steps are needed before the {2 * horizon} that test a forecast",
        action="The models were fitted without a season.",
    )


def _short_series(series_column: str, sizes: pd.Series, scored: pd.Series, horizon: int) -> Notice:
    short = sizes[~sizes.index.isin(scored.index)].sort_values(kind="stable")
    return Notice(
        code="short-series",
        column=series_column,
        message=f"{len(short):,} of {len(sizes):,} series are too short to test a forecast of {horizon}.",
        evidence=listed([f"{name!r} has {count} steps" for name, count in short.items()])
        + f"; {2 * horizon + LEAST_TRAINING} are needed",
        action="They are forecast, and counted in no score.",
    )


def _grid_notices(
    rows: pd.DataFrame, names: Columns, placed: series_times.Placed, sizes: pd.Series, alias: str
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
    gaps = int(sizes.sum()) - len(rows)
    if gaps:
        notices.append(
            Notice(
                code="gaps-filled",
                column=names.time,
                message=f"{gaps} of {int(sizes.sum())} steps at the frequency {alias} have no value.",
                evidence=f"{gaps / int(sizes.sum()):.1%} of the steps",
                action="They were filled on a straight line between their neighbours for fitting; "
                "held-out steps without a value are not scored. Where no row means none, give rows of 0.",
            )
        )
    return notices


def _digest(rows: pd.DataFrame, names: Columns, steps: np.ndarray, horizon: int) -> str:
    last = pd.Series(steps, index=rows.index).groupby(rows[names.id]).max()
    text = "\n".join(f"{name}\t{step - horizon + 1}" for name, step in last.items())
    return hashlib.sha256(text.encode()).hexdigest()
