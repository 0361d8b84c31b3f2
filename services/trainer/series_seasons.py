"""What recurs in a series: the seasons of its calendar, and those that only its values show."""

from __future__ import annotations

import numpy as np
import pandas as pd

from services.trainer import series_times

_COUNTED = (12, 4, 7, 24, 52)
"""Seasons looked for where times are counted, not dated: months, quarters, weekdays, hours, weeks."""
_CLEAR = 0.5
"""Correlation of steps a season apart from which on it is taken as one."""
_LOOKED_AT = 50
"""Series that are looked at, the longest first."""

_LONGER: dict[str, tuple[int, ...]] = {"h": (24, 168), "D": (7, 365), "B": (5, 261)}
"""Frequency → its seasons: the hours of a day and of a week, the days of a week and of a year."""


def all_seasons(alias: str, main: int, steps: int) -> list[int]:
    """`main` and the longer seasons of the frequency that `steps` hold at least three of, ascending."""
    if alias.isdigit() or main <= 1:
        return [main]
    longer = _LONGER.get(alias, ())
    if series_times.unit(alias) == "minute" and main > 60:
        longer = (main, 7 * main)
    return [main, *(season for season in longer if season > main and steps >= 3 * season)]


def counted(values: pd.Series, codes: np.ndarray) -> int:
    """The season of series whose steps are only counted: 1 where none is clear.

    `values`: (n,), sorted by series and time; `codes`: (n,) of the series. A season is clear where changes
    from step to step resemble those a season earlier, more than those a step to either side of it.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(codes) != 0])
    parts = np.split(values.to_numpy(dtype=float), starts[1:])
    parts = sorted(parts, key=len, reverse=True)[:_LOOKED_AT]
    found = {}
    for season in _COUNTED:
        at = [_alike(parts, lag) for lag in (season - 1, season, season + 1)]
        if not np.isnan(at[1]) and at[1] >= _CLEAR and at[1] > np.nanmax([at[0], at[2]]) + 0.1:
            found[season] = at[1]
    # 24 resembles as much as 12 does: the shortest that explains nearly as much
    clear = [season for season, value in found.items() if value >= 0.95 * max(found.values())]
    return min(clear, default=1)


def _alike(parts: list[np.ndarray], lag: int) -> float:
    """The median correlation of the series' changes with those `lag` steps before; NaN where too short."""
    values = []
    for part in parts:
        change = np.diff(part)
        if len(change) < 3 * lag or change.std() == 0:
            continue
        one, other = change[lag:], change[:-lag]
        if one.std() > 0 and other.std() > 0:
            values.append(float(np.corrcoef(one, other)[0, 1]))
    return float(np.median(values)) if values else float("nan")
