"""The columns beside time, series and target: which of them can help to forecast, and which cannot.

A forecast can only use what is known of the steps that it forecasts: columns that are filled in the rows
after the last known target (prices, holidays, plans), and columns that never change within a series. What
was only measured along with the target is as unknown there as the target itself.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer.number_text import to_numbers
from services.trainer.series_rows import Columns, Rows, listed
from shared.contracts.problems import Notice

MOST_VALUES = 50
"""Different texts beyond which a column says too little of each."""

Role = Literal["numeric", "categorical", "boolean"]


class Extra(Struct):
    """`known`, `static`: columns that models may use, with their roles. `steps`: how many steps after its
    last known value each series has `known` for; 0 where there are none."""

    known: dict[str, Role]
    static: dict[str, Role]
    steps: int
    notices: list[Notice]


def steps_ahead(rows: Rows, known_steps: np.ndarray, ahead_steps: np.ndarray) -> int:
    """Steps without a gap for which every series has a row after its last known value."""
    last = pd.Series(known_steps).groupby(rows.known["@code"]).max()
    if rows.ahead.empty:
        return 0
    nth = pd.Series(ahead_steps) - last.loc[rows.ahead["@code"]].to_numpy()
    ordinal = rows.ahead.groupby("@code").cumcount() + 1
    unbroken = (nth == ordinal.to_numpy()).groupby(rows.ahead["@code"]).sum()
    return int(unbroken.reindex(last.index, fill_value=0).min())


def describe(
    frame: pd.DataFrame, rows: Rows, names: Columns, series_column: str | None, ahead: int, wanted: int | None
) -> Extra:
    """What the other columns of the table are good for.

    `ahead`: as of `steps_ahead`; `wanted`: the horizon that was asked for, None where it is free.
    """
    others = [name for name in frame.columns if name not in (names.id, names.time, names.target)]
    found = Extra({}, {}, 0, [])
    past, useless = [], []
    horizon = wanted or ahead
    for name in others:
        column = frame[name].reset_index(drop=True)
        role = _role(column)
        if role is None:
            useless.append(name)
        elif _never_changes(column, rows):
            # the same in all series, it tells none from another
            if series_column is not None and column.iloc[rows.known["@row"]].nunique() > 1:
                found.static[name] = role
            else:
                useless.append(name)
        elif horizon and ahead >= horizon and _filled(column, rows, horizon):
            found.known[name] = role
        else:
            past.append(name)
    found.steps = horizon if found.known else 0
    found.notices = _notices(found, past, useless, ahead, wanted)
    return found


def values(column: pd.Series, role: str) -> pd.Series:
    """A column as models take it: numbers as floats, everything else as text; missing ones NaN."""
    if role == "categorical":
        return column.astype(object).where(column.notna(), np.nan).map(str, na_action="ignore")
    if role == "boolean":
        return column.map(_TRUTH).astype("float64")
    return to_numbers(column)


_TRUTH = {True: 1.0, False: 0.0}


def _role(column: pd.Series) -> Role | None:
    present = column.dropna()
    if present.empty or (present.nunique() < 2 and len(present) == len(column)):
        return None
    if pd.api.types.is_bool_dtype(present.infer_objects()):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(present) or pd.api.types.is_timedelta64_dtype(present):
        return None
    if np.isfinite(to_numbers(present)).mean() > 0.99:
        return "numeric"
    return "categorical" if present.nunique() <= MOST_VALUES else None


def _never_changes(column: pd.Series, rows: Rows) -> bool:
    at = rows.known["@row"].to_numpy()
    return bool((column.iloc[at].groupby(rows.known["@code"].to_numpy()).nunique() <= 1).all())


def _filled(column: pd.Series, rows: Rows, horizon: int) -> bool:
    """Whether the first `horizon` rows ahead of each series have it, and most of the known ones."""
    first = rows.ahead[rows.ahead.groupby("@code").cumcount() < horizon]
    before = column.iloc[rows.known["@row"]].notna().mean()
    return bool(column.iloc[first["@row"]].notna().all()) and before > 0.5


def _notices(
    found: Extra, past: list[str], useless: list[str], ahead: int, wanted: int | None
) -> list[Notice]:
    said = []
    if found.known:
        said.append(
            Notice(
                code="columns-known-ahead",
                message=f"{listed([repr(name) for name in found.known])}: known for the time to come.",
                evidence=f"filled in the {found.steps} steps after the last known target of every series",
                action="Models that can use them (LightGBM, Ridge, AutoARIMA) do, and ask for them when they "
                "forecast; the others forecast from the past alone.",
                **_of(found.known),
            )
        )
    if found.static:
        said.append(
            Notice(
                code="columns-of-series",
                message=f"{listed([repr(name) for name in found.static])}: the same all through a series.",
                action="LightGBM tells the series apart by them; they need not be given again.",
                **_of(found.static),
            )
        )
    if past:
        few = f"the rows after the last known target are {ahead} steps, {wanted} were asked for"
        evidence = few if wanted and 0 < ahead < wanted else "no values after the last known target"
        said.append(
            Notice(
                code="columns-not-used",
                message=f"{listed([repr(name) for name in past])}: only known for the past, "
                "which says nothing of the time to come.",
                evidence=evidence,
                action="They are left out. To have them used, add a row for every step to be forecast, "
                "with their values and without the target.",
                **_of(past),
            )
        )
    if useless:
        said.append(
            Notice(
                code="columns-not-used",
                message=f"{listed([repr(name) for name in useless])}: constant, empty, times, or texts of "
                f"more than {MOST_VALUES} kinds.",
                action="They are left out.",
                **_of(useless),
            )
        )
    return said


def _of(columns: dict[str, Role] | list[str]) -> dict[str, str]:
    """A notice's column, where it is of one."""
    return {"column": next(iter(columns))} if len(columns) == 1 else {}
