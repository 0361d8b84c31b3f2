"""When the rows of a series happened: reading a time column, finding its frequency, putting it on a grid.

Times are `datetime64[ns]` in UTC without a zone, or whole numbers where the user counts steps (years, 1..n).
A frequency is a pandas offset alias ("MS", "W-SUN", "15min"); for whole numbers it is the step as a decimal
string ("1"), which no alias can be.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import series_years
from services.trainer.number_text import parsed
from shared.contracts.problems import Notice

_SAMPLE = 500
_SPARSEST = 0.05
"""Below this share of filled steps a grid says nothing about the data."""
_SPARSE = 0.2
"""Below this share, one row a calendar period is looked for first."""

_ZONE = re.compile(r"(?<=\d\d:\d\d)(:\d\d(?:[.,]\d+)?)?\s*(?:Z|[+-]\d\d(?::?\d\d)?)$")
_SPELLINGS: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(r"^(\d{4})\s*[-/]?\s*[Qq]([1-4])$"), lambda m: f"{m[1]}-{3 * int(m[2]) - 2:02d}-01"),
    (re.compile(r"^[Qq]([1-4])\s*[-/]?\s*(\d{4})$"), lambda m: f"{m[2]}-{3 * int(m[1]) - 2:02d}-01"),
    (re.compile(r"^(\d{4})\s*[Mm](0?[1-9]|1[0-2])$"), lambda m: f"{m[1]}-{int(m[2]):02d}-01"),
]
"""Spellings that pandas does not read: "2024-Q3", "Q3 2024", "2024M07"."""
_FORMATS = ["%b-%y", "%b-%Y", "%b %Y", "%B %Y", "%B-%Y", "%m/%Y", "%m-%Y", "%d-%b-%y"]
_FORMATS += [
    f"{first}{mark}{second}{mark}%y{hour}"
    for first, second in (("%m", "%d"), ("%d", "%m"))
    for mark in "/.-"
    for hour in ("", " %H:%M", " %H:%M:%S")
]
"""What pandas cannot name: it would guess row by row, "03/04/20" with the month and "23/04/20" with the day
first, and take a hundred times as long."""
_ISO_WEEK = re.compile(r"^\d{4}-?W\d{2}$")

_UNIX = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Digits of a Unix time since 2001 → its unit."""

_MONTHLY = {"MS": ("QS", "YS"), "ME": ("QE", "YE"), "BMS": ("BQS", "BYS"), "BME": ("BQE", "BYE")}
"""Where in the month → its quarterly and yearly relatives."""
_PERIODS = {"YS-JAN": "Y", "QS-JAN": "Q", "MS": "M", "W-MON": "W-SUN", "D": "D", "h": "h", "min": "min"}
"""Frequencies that irregular times may be moved onto → the pandas period whose start they get."""
_OFF = np.iinfo("int64").min
_TICKS = (("D", 86_400_000_000_000), ("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000))


class Reading(Struct):
    """`times`: one a row, NaT/NA where missing or unreadable; `unreadable`: (row position, value) of each."""

    times: pd.Series
    unreadable: list[tuple[int, object]]
    notices: list[Notice]


def read(column: pd.Series, series: np.ndarray) -> Reading:
    """Read a time column. `series`: (n,) codes of the rows' series, used to tell 3/4 from 4/3."""
    with warnings.catch_warnings():
        # pandas warns of each guess; what was guessed is said in the notices
        warnings.simplefilter("ignore", UserWarning)
        return _read(column.reset_index(drop=True), series)


def _read(column: pd.Series, series: np.ndarray) -> Reading:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.start_time
    if pd.api.types.is_datetime64_any_dtype(column):
        times = _utc(column)
        return Reading(times, _unreadable(column, times), [])
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        return _nothing(column)
    numbers = parsed(column)
    if numbers.notna().sum() > 0.5 * column.notna().sum():
        return _read_numbers(column, numbers)
    return _read_text(column, series)


def _utc(times: pd.Series) -> pd.Series:
    """In nanoseconds, which pandas' offsets count in: years 1678 to 2261, NaT outside of them."""
    years = times.dt.year
    times = times.where(years.between(1678, 2261))
    if times.dt.tz is None:
        return times.astype("datetime64[ns]")
    wall = times.dt.tz_localize(None)
    # days keep their dates: midnight in Berlin is another day in UTC
    if (wall.dropna() == wall.dropna().dt.normalize()).all():
        return wall.astype("datetime64[ns]")
    return times.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ns]")


def _unreadable(column: pd.Series, read: pd.Series) -> list[tuple[int, object]]:
    bad = column[column.notna() & read.isna()]
    return [(int(position), value) for position, value in bad.items()]


def _nothing(column: pd.Series) -> Reading:
    times = pd.Series(pd.NaT, index=column.index)
    return Reading(times, _unreadable(column, times), [])


def _read_numbers(column: pd.Series, numbers: pd.Series) -> Reading:
    if fractions := series_years.read(numbers):
        return _as_times(column, numbers, fractions[0], f"years and {fractions[1]}")
    whole = numbers.where((numbers % 1 == 0) & (numbers.abs() < 2**63)).astype("Int64")
    bad = _unreadable(column, whole)
    given = whole.dropna().astype("int64")
    if bad or given.empty:
        return Reading(whole, bad, [])
    digits = given.astype(str).str.len()
    width = int(digits.iloc[0]) if digits.nunique() == 1 and (given > 0).all() else 0
    times, written = None, ""
    if width == 6 and given.between(180001, 220012).all() and (given % 100).between(1, 12).all():
        times, written = pd.to_datetime(given.astype(str), format="%Y%m"), "year and month (YYYYMM)"
    elif width == 8 and given.between(18000101, 22001231).all():
        days = pd.to_datetime(given.astype(str), format="%Y%m%d", errors="coerce")
        times, written = (days, "dates (YYYYMMDD)") if days.notna().all() else (None, "")
    elif width in _UNIX:
        times, written = pd.to_datetime(given, unit=_UNIX[width]), f"Unix times in {_UNIX[width]}"
    if times is None:
        return Reading(whole, [], [])
    return _as_times(column, given, times, written)


def _as_times(column: pd.Series, numbers: pd.Series, times: pd.Series, written: str) -> Reading:
    first = times.index[0]
    notice = Notice(
        code="time-format",
        column=str(column.name),
        message=f"The numbers in {column.name!r} are {written}.",
        evidence=f"{numbers[first]} is {as_text(times[first])}",
        action="They were read as times; forecasts carry times, not these numbers.",
    )
    return Reading(times.astype("datetime64[ns]").reindex(column.index), [], [notice])


def _read_text(column: pd.Series, series: np.ndarray) -> Reading:
    text = column.where(column.notna()).astype("string").str.strip()
    text = text.where(text != "")
    column = column.where(text.notna())
    for pattern, spelled in _SPELLINGS:
        text = text.str.replace(pattern, spelled, regex=True)
    if text.dropna().str.match(_ISO_WEEK).all():
        weeks = text.str.replace("-", "") + "-1"
        times = pd.to_datetime(weeks, format="%GW%V-%u", errors="coerce")
        return Reading(times, _unreadable(column, times), [])
    wall = text.str.replace(_ZONE, r"\1", regex=True)
    zoned = bool((wall.dropna() != text.dropna()).any())
    best, rival = _formats(wall.dropna())
    if best is None:
        return _nothing(column)
    times = pd.to_datetime(wall, errors="coerce", format=best)
    notices: list[Notice] = []
    if rival is not None:
        other = pd.to_datetime(wall, errors="coerce", format=rival)
        times, notices = _more_even(column, times, other, series)
    elif zoned and not (times.dropna() == times.dropna().dt.normalize()).all():
        times = pd.to_datetime(text, errors="coerce", format=best if best == "ISO8601" else "mixed", utc=True)
        times = times.dt.tz_localize(None)
    return Reading(times.astype("datetime64[ns]"), _unreadable(column, times), notices)


def _formats(text: pd.Series) -> tuple[str | None, str | None]:
    """The format that reads most of `text`, and one of another meaning that reads as much."""
    sample = text if len(text) <= _SAMPLE else text.sample(_SAMPLE, random_state=0)
    guesses = [
        guess
        for day_first in (False, True)
        for word in sample.iloc[:50]
        if (guess := pd.tseries.api.guess_datetime_format(word, dayfirst=day_first))
    ]
    candidates = list(dict.fromkeys(["ISO8601", *guesses, *_FORMATS, "mixed"]))
    read = {f: pd.to_datetime(sample, errors="coerce", format=f, utc=True) for f in candidates}
    known = {f: int(times.notna().sum()) for f, times in read.items()}
    best = max(candidates, key=lambda f: known[f])
    if known[best] < 0.5 * max(1, len(sample)):
        return None, None
    rivals = [f for f in candidates[1:-1] if known[f] == known[best] and not read[f].equals(read[best])]
    ambiguous = best not in ("ISO8601", "mixed") and rivals
    return best, rivals[0] if ambiguous else None


def _more_even(
    column: pd.Series, one: pd.Series, other: pd.Series, series: np.ndarray
) -> tuple[pd.Series, list[Notice]]:
    """Of two readings the one that leaves fewer rows out, then the one with the more even steps."""

    def unevenness(times: pd.Series) -> float:
        steps = _steps(times.dropna().astype("int64"), series[times.notna().to_numpy()])
        return float(steps.std() / steps.mean()) if len(steps) > 1 else 0.0

    def rank(times: pd.Series) -> tuple[int, float]:
        return int(times.isna().sum()), round(unevenness(times), 9)

    chosen, left = (other, one) if rank(other) < rank(one) else (one, other)
    row = int(chosen.dropna().ne(left.reindex(chosen.dropna().index)).idxmax())
    notice = Notice(
        code="ambiguous-dates",
        column=str(column.name),
        message=f"The dates in {column.name!r} can be read with the day or with the month first.",
        evidence=f"{column[row]!r} was read as {as_text(chosen[row])[:10]}",
        action="The reading with the more even steps was taken. Write dates as YYYY-MM-DD to be sure.",
    )
    return chosen, [] if left.isna().sum() > chosen.isna().sum() else [notice]


def _steps(values: pd.Series, series: np.ndarray) -> np.ndarray:
    """Distances > 0 between neighbours in time of the same series, in the values' own unit."""
    order = np.lexsort((values.to_numpy(), series))
    sorted_values, sorted_series = values.to_numpy()[order], series[order]
    steps = np.diff(sorted_values)
    return steps[(np.diff(sorted_series) == 0) & (steps > 0)]


def extremes(times: pd.Series, series: np.ndarray) -> str:
    """The least and the largest step between neighbours, for a message."""
    steps = _steps(times.astype("int64"), series)
    dated = pd.api.types.is_datetime64_any_dtype(times)
    least, largest = (pd.Timedelta(int(n)) if dated else int(n) for n in (steps.min(), steps.max()))
    return f"{least} and {largest}"


def frequency(times: pd.Series, series: np.ndarray) -> str | None:
    """The coarsest frequency that holds all `times` (no missing ones), None where there is none.

    Times that are not quite regular (reports written on changing days, jitter) get the coarsest calendar
    period that holds at most one row a series and is at least half filled: `place` moves them there.
    """
    values = times.astype("int64")
    steps = _steps(values, series)
    if not len(steps):
        return None
    common = int(np.gcd.reduce(steps))
    if not pd.api.types.is_datetime64_any_dtype(times):
        return str(common) if _filled(values // common, series) >= _SPARSEST else None
    by_calendar = _calendar(times)
    if by_calendar and _filled(_positions(times, series, by_calendar), series) >= _SPARSEST:
        return by_calendar
    filled = _filled(values // common, series)
    tick = _tick(times, common)
    if tick and filled >= _SPARSE:
        return tick
    for alias, period in _PERIODS.items():
        numbers = times.dt.to_period(period).astype("int64")
        alone = not pd.DataFrame({"s": series, "p": numbers.to_numpy()}).duplicated().any()
        if alone and _filled(numbers, series) >= 0.5:
            return alias
    return tick if tick and filled >= _SPARSEST else None


def _calendar(times: pd.Series) -> str | None:
    first, last = times.min(), times.max()
    for alias, (quarter, year) in _MONTHLY.items():
        if not times.isin(pd.date_range(first, last, freq=alias)).all():
            continue
        months = np.unique(times.dt.year.to_numpy() * 12 + times.dt.month.to_numpy())
        step = int(np.gcd.reduce(np.diff(months))) if len(months) > 1 else 1
        for size, name in ((12, year), (3, quarter)):
            if step % size == 0:
                return _multiple(step // size, f"{name}-{first.strftime('%b').upper()}")
        return _multiple(step, alias)
    for alias in ("SMS", "SME"):
        if times.dt.day.nunique() > 1 and times.isin(pd.date_range(first, last, freq=alias)).all():
            return alias
    return None


def _tick(times: pd.Series, step: int) -> str | None:
    """`step`: ns that divide every distance between neighbours."""
    unit = next(((name, size) for name, size in _TICKS if step % size == 0), None)
    if unit is None:
        return None
    alias = _multiple(step // unit[1], unit[0])
    days = times.dt.dayofweek
    if alias == "7D" and days.nunique() == 1:
        return f"W-{times.iloc[0].strftime('%a').upper()}"
    workdays = alias == "D" and set(days) == {0, 1, 2, 3, 4}
    return "B" if workdays else alias


def _multiple(count: int, alias: str) -> str:
    return alias if count == 1 else f"{count}{alias}"


def _filled(positions: pd.Series | np.ndarray, series: np.ndarray) -> float:
    """Rows over steps between each series' first and last row, 0..1 where no step holds two rows."""
    spans = pd.Series(np.asarray(positions)).groupby(series).agg(["min", "max"])
    return len(series) / float((spans["max"] - spans["min"] + 1).sum())


def step(alias: str) -> str | int:
    """A frequency in the form that statsforecast and mlforecast take: an alias or a whole number."""
    return int(alias) if alias.isdigit() else alias


class Placed(Struct):
    """`steps`: (n,) ints, each row's step on the grid; `moved`: how many times were moved onto it.

    `moments` turns (m,) series codes and (m,) steps back into times.
    """

    steps: np.ndarray
    moved: int
    moments: Callable[[np.ndarray, np.ndarray], pd.Series]


def place(times: pd.Series, series: np.ndarray, alias: str) -> Placed:
    """Put `times` (no missing ones) of `series` (codes) on the grid of `alias`.

    Where `alias` is a plain period (month, day …), times off its grid are moved to the period's start.
    Raises ValueError where times are off another grid.
    """
    steps, moved = _positions(times, series, alias), 0
    if alias in _PERIODS and (steps == _OFF).any():
        starts = times.dt.to_period(_PERIODS[alias]).dt.start_time
        moved = int((starts != times).sum())
        times, steps = starts, _positions(starts, series, alias)
    if (steps == _OFF).any():
        raise ValueError(f"some times are not on the grid of {alias}")
    size = _tick_ns(alias, times)
    if size is None:
        grid = pd.date_range(times.min(), times.max(), freq=alias)
        return Placed(steps, moved, lambda _codes, at: pd.Series(grid[at]))
    # series may start at different moments: each keeps its own phase
    phase = times.astype("int64").groupby(series).min() % size
    kind = times.dtype
    return Placed(
        steps, moved, lambda codes, at: pd.Series(at * size + phase.loc[codes].to_numpy()).astype(kind)
    )


def _positions(times: pd.Series, series: np.ndarray, alias: str) -> np.ndarray:
    """(n,) steps on the grid of `alias`; `_OFF` for a time that is not on it."""
    size = _tick_ns(alias, times)
    if size is None:
        found = pd.date_range(times.min(), times.max(), freq=alias).get_indexer(times).astype("int64")
        return np.where(found < 0, _OFF, found)
    values = times.astype("int64")
    values = values - values.groupby(series).transform("min") % size
    return np.where(values % size == 0, values // size, _OFF)


def _tick_ns(alias: str, times: pd.Series) -> int | None:
    """The length of a step (ns, or the whole numbers' own unit); None where steps differ in length."""
    if not pd.api.types.is_datetime64_any_dtype(times):
        return int(alias)
    try:
        return int(pd.tseries.frequencies.to_offset(alias).nanos)
    except ValueError:
        return None


def season_length(alias: str) -> int:
    """Steps after which a season usually repeats: a year of months or quarters, a week of days, a day of
    hours or minutes (an hour of them where a day has more than 300). 1: none is known.
    """
    if alias.isdigit():
        return 1
    offset = pd.tseries.frequencies.to_offset(alias)
    name, count = offset.base.name.split("-")[0], offset.n
    if name == "D" and count % 7 == 0:
        name, count = "W", count // 7
    whole = {"MS": 12, "ME": 12, "BMS": 12, "BME": 12, "QS": 4, "QE": 4, "BQS": 4, "BQE": 4}
    whole |= {"SMS": 24, "SME": 24, "W": 52, "B": 5, "D": 7, "h": 24, "s": 60}
    if name == "min":
        whole["min"] = 1440 if 1440 / count <= 300 else 60
    total = whole.get(name, 1)
    return total // count if total % count == 0 else 1


_UNITS = {"W": "week", "D": "day", "B": "day", "h": "hour", "min": "minute", "s": "minute"}
_UNITS |= dict.fromkeys((*_MONTHLY, "SMS", "SME"), "month")
_UNITS |= {quarterly: "quarter" for quarterly, _ in _MONTHLY.values()}


def unit(alias: str) -> str | None:
    """The calendar unit that a frequency counts: month, quarter, week, day, hour, minute, or None."""
    if alias.isdigit():
        return None
    offset = pd.tseries.frequencies.to_offset(alias)
    return _UNITS.get(offset.base.name.split("-")[0])


def as_text(value: object) -> str:
    """RFC 3339 in UTC; a whole number as it is."""
    return f"{value.isoformat()}Z" if isinstance(value, pd.Timestamp) else str(value)
