"""Dates: how a column writes them, and what of them a model can learn from.

A date holds what comes again (weekday, day of the year, hour) and how far time has gone on (trend). Both
are made of attributes that pandas has, in pipelines that a pickle can carry: one row takes a tenth of what
an encoder that works column by column takes.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, SplineTransformer, StandardScaler

WELL_READ = 0.95
"""Share of a column's dates that one format must read; below it each is read by its own."""

UNGUESSED = (
    *("%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%b %y", "%Y %b", "%m/%Y", "%Y/%m"),
    *("%d-%b-%y", "%d-%b-%Y", "%d %b %y", "%m/%d/%y %I:%M %p", "%m/%d/%Y %I:%M %p"),
)
"""Formats in use that pandas has no guess for: months without a day, years of two digits."""

GUESSED_FROM = 50
"""Values whose formats are guessed: a day over 12 decides between 3/4 and 4/3, and it may come late."""

KNOTS = 8
"""Seven periodic splines a feature: as many as a week has days, so that each day has its own level."""

HEIGHT = 1.5
"""With it the splines of one feature have together the variance of two columns of unit variance, as a sine
and a cosine have: a date that says nothing must not drown the other columns in distances."""

PERIODS = {"day_of_week": 7, "day_of_year": 366, "hour": 24}

PARTS = ["year", "month", "day", "day_of_week", "day_of_year", "hour", "minute"]
"""Attributes of `Series.dt`, whatever unit pandas keeps the times in."""

TREND = {"year": 366.0, "day_of_year": 1.0, "hour": 1 / 24, "minute": 1 / 1440}
"""Days, every year as long as the longest: so it grows over the end of each."""


def reading(texts: pd.Series) -> tuple[dict[str, Any], float]:
    """Arguments of `pandas.to_datetime` that read `texts` (str, none missing), and the share they read, 0..1.

    One format for the whole column where there is one: it is a hundred times as fast, and "02/03" cannot
    mean February in one row and March in the next. What fits both orders means the month first.
    """
    always = {"errors": "coerce", "utc": True}
    iso = always | {"format": "ISO8601"}
    if texts.empty:
        return iso, 0.0

    def share_read(arguments: dict[str, Any]) -> float:
        return float(pd.to_datetime(texts, **arguments).notna().mean())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas says that it guesses; that is what is asked here
        if (share := share_read(iso)) == 1.0:
            return iso, share
        spread = texts.iloc[:: max(1, len(texts) // GUESSED_FROM)]
        guesses = [
            pd.tseries.api.guess_datetime_format(text, dayfirst=day_first)
            for day_first in (False, True)
            for text in spread
        ]
        formats = dict.fromkeys(guess for guess in [*guesses, *UNGUESSED] if guess)
        tried = [iso, *(always | {"format": known} for known in formats)]
        shares = [share, *(share_read(arguments) for arguments in tried[1:])]
        best = int(np.argmax(shares))
        if shares[best] >= WELL_READ:
            return tried[best], shares[best]
        mixed = always | {"format": "mixed"}
        share = share_read(mixed)
        return (mixed, share) if share > shares[best] else (tried[best], shares[best])


def number_reading(name_is_of_time: bool, numbers: pd.Series) -> dict[str, Any] | None:
    """Arguments of `pandas.to_datetime` for numbers that are dates: 20240131, or seconds or milliseconds
    since 1970. None where they are not, or their column's name says nothing of time."""
    known = numbers[np.isfinite(numbers)]
    if not name_is_of_time or known.empty or not (known == np.floor(known)).all():
        return None
    if known.between(19000101, 21001231).all():
        arguments = {"errors": "coerce", "utc": True, "format": "%Y%m%d"}
        return arguments if pd.to_datetime(known, **arguments).notna().all() else None
    for unit, thousand in (("s", 1), ("ms", 1000)):
        # 2001 to 2038: ten digits, which hardly anything else that is named after time has
        if known.between(10**9 * thousand, 2**31 * thousand).all():
            return {"errors": "coerce", "utc": True, "unit": unit}
    return None


def with_clock(values: pd.Series, arguments: dict[str, Any]) -> bool:
    """Whether any of these dates holds a time of day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = pd.to_datetime(values, **arguments).dropna()
    return bool((times != times.dt.normalize()).any())


def date_steps(arguments: dict[str, Any], *, clock: bool, scaled: bool) -> list[BaseEstimator]:
    """A pipeline's steps: one column of dates (a Series) → floats (n, features), missing where the date is.

    For trees: year, month, day, weekday, day of the year, hour, trend. `scaled`: what recurs as periodic
    splines (the end of a year is next to its beginning, and a weekday is no quantity), and the day of the
    month and the trend, of unit variance and without missing values. `clock`: whether the hour counts.
    """
    recurring = ["day_of_week", "day_of_year", *(["hour"] if clock else [])]
    wanted = [*recurring, "day", "trend"] if scaled else [*recurring, "day", "trend", "month", "year"]
    read = [
        FunctionTransformer(pd.to_datetime, kw_args=arguments),
        FunctionTransformer(operator.attrgetter(*(f"dt.{part}" for part in PARTS))),
        FunctionTransformer(np.column_stack),
        FunctionTransformer(np.dot, kw_args={"b": _mixture(wanted)}),
    ]
    if not scaled:
        return read
    splines = SplineTransformer(
        n_knots=KNOTS,
        degree=1,
        knots=np.linspace(0, [PERIODS[part] for part in recurring], KNOTS),
        extrapolation="periodic",
        handle_missing="zeros",
    )
    level = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    recurs, rest = slice(len(recurring)), slice(len(recurring), None)
    apart = [
        ("recurs", make_pipeline(splines, MinMaxScaler((0, HEIGHT), clip=True)), recurs),
        ("level", level, rest),
    ]
    return [*read, ColumnTransformer(apart)]


def _mixture(wanted: list[str]) -> np.ndarray:
    """(len(PARTS), len(wanted)): by which `PARTS` are multiplied to give the features `wanted`."""
    matrix = np.zeros((len(PARTS), len(wanted)))
    for column, feature in enumerate(wanted):
        for part, weight in (TREND if feature == "trend" else {feature: 1.0}).items():
            matrix[PARTS.index(part), column] = weight
    return matrix
