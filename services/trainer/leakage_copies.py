"""Columns that are the target over again: copies, other units, transforms, roundings, bands.

Each test asks for something that no measurement does: an exact relation, as far as numbers are exact, over
many rows. Targets of classes are `leakage_classes`'s; what is merely very strong is left to
`leakage_strength`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from services.trainer import leakage_classes
from services.trainer.leakage_finding import FEW_VALUES, LEAST_FLAGGED, LEAST_ROWS, SAME, Copy
from services.trainer.leakage_sample import Feature, Sample, names_past, names_time

MOSTLY_EQUAL = 0.9

HALVED = 0.5
"""Share of the target's variance between two values that divide it: half of a bell curve against the other
leaves 0.36. What is zero in some rows for a reason may divide it as well, and less evenly."""


def find(sample: Sample) -> list[Copy]:
    """The columns of the sample that are the target over again."""
    if len(sample.y) < LEAST_ROWS:
        return []
    if sample.labels is not None:
        copies = leakage_classes.find(sample)
        # several such columns are what far-apart classes look like
        lone = sum(copy.blurred for copy in copies) == 1
        return [copy for copy in copies if lone or not copy.blurred]
    found = []
    follows_time = _monotone(sample.rows, sample.y) or any(
        _concordant(feature.values[feature.present], sample.y[feature.present])
        for feature in sample.features
        if _of_time(feature) and feature.distinct > 2
    )
    for feature in sample.features:
        copy = _of_numbers(feature, sample.y, follows_time)
        if copy is not None:
            found.append(copy)
    return found


# --- a target of numbers ----------------------------------------------------------------------------


def _of_time(feature: Feature) -> bool:
    return feature.role == "datetime" or (names_time(feature.name) and not feature.codes)


def _of_numbers(feature: Feature, y: np.ndarray, follows_time: bool) -> Copy | None:
    """`follows_time`: the target only grows (or falls) in time or in the table's order, so that whatever else
    does has its order too."""
    name, present = feature.name, feature.present
    if (gone := _missing_by_size(feature, y)) is not None:
        return gone
    x, y = feature.values[present], y[present]
    levels = len(np.unique(y))
    if len(x) < max(LEAST_ROWS, 0.05 * len(present)) or levels < 5 or feature.distinct < 2:
        return None
    if feature.codes:
        return None if feature.distinct > FEW_VALUES else _bands(feature, y, follows_time)
    equal = np.isclose(x, y, rtol=SAME, atol=0)
    if equal.all():
        return Copy(name, "the target itself", f"equal in all of {len(x):,} rows", True)
    if equal.mean() >= MOSTLY_EQUAL and levels >= 10 and not names_past(name):
        return Copy(name, "the target but for a few rows", f"equal in {equal.mean():.1%} of the rows", False)
    for how, function in _FORMS:
        if (slope := _linear(function, x, y)) is not None:
            said = (
                how.format(abs(slope)) if feature.distinct >= 5 else "tied to the target in a straight line"
            )
            return Copy(name, said, f"exact to 9 digits in all of {len(x):,} rows", True)
    timely = _of_time(feature) or follows_time
    if timely or len(x) < 50 or min(feature.distinct, levels) < 3:
        return _flag(feature, x, y, timely)
    if _concordant(x, y):
        how = (
            "the target rounded or in bands" if feature.distinct < 0.5 * levels else "the target transformed"
        )
        return Copy(
            name,
            how,
            f"not one of {len(x):,} rows is out of the target's order, {feature.distinct} values",
            True,
        )
    return None


def _identity(x: np.ndarray) -> np.ndarray:
    return x


_FORMS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("the target in other units (the target changes by {:.6g} where it changes by 1)", _identity),
    ("the target's logarithm", lambda x: np.exp(x - x.max()) if np.ptp(x) < 600 else _unknown(x)),
    ("the target's logarithm to base 10", lambda x: 10 ** (x - x.max()) if np.ptp(x) < 250 else _unknown(x)),
    ("the target's square root", np.square),
    ("the target's square", lambda x: np.sqrt(x) if (x >= 0).all() else _unknown(x)),
    ("the target's exponential", lambda x: np.log(x) if (x > 0).all() else _unknown(x)),
    ("one divided by the target", lambda x: 1 / x if (x != 0).all() else _unknown(x)),
    ("the target's third root", lambda x: x**3),
    ("the target's third power", np.cbrt),
]
"""What the column is → the function that would make the target of it, up to a factor and a shift."""


def _unknown(x: np.ndarray) -> np.ndarray:
    return np.full(len(x), np.nan)


def _linear(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray) -> float | None:
    """How much y changes where function(x) changes by one, if that is the same in all rows."""
    with np.errstate(all="ignore"):
        made = function(x)
        a, b = made - made.mean(), y - y.mean()
        scale = float(a @ a)
        if not np.isfinite(scale) or scale <= 0:
            return None
        slope = float(a @ b) / scale
        left = b - slope * a
        return slope if float(left @ left) <= SAME * float(b @ b) and np.isfinite(slope) else None


def _monotone(x: np.ndarray, y: np.ndarray) -> bool:
    steps = np.diff(y[np.argsort(x, kind="stable")])
    return bool((steps >= 0).all() or (steps <= 0).all())


def _concordant(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether no two rows are ordered one way by x and the other way by y; equal ones may be equal in one."""
    return any(bool((np.diff(side[np.lexsort((side, y))]) >= 0).all()) for side in (x, -x))


def _bands(feature: Feature, y: np.ndarray, follows_time: bool) -> Copy | None:
    """Categories that each hold one stretch of the target, such as "cheap", "medium", "dear"."""
    groups = (
        pd.Series(y).groupby(feature.values[feature.present]).agg(["min", "max", "size"]).sort_values("min")
    )
    apart = (groups["min"].to_numpy()[1:] > groups["max"].to_numpy()[:-1]).all()
    if not apart or len(y) < 50 or groups["size"].nlargest(2).min() < 0.05 * len(y) or follows_time:
        return None
    if len(groups) == 2 and _between(feature.values[feature.present] == groups.index[0], y) < HALVED:
        return None
    return Copy(
        feature.name,
        "the target in bands",
        f"each of its {len(groups)} values holds a stretch of the target of its own in {len(y):,} rows",
        True,
    )


def _flag(feature: Feature, x: np.ndarray, y: np.ndarray, timely: bool) -> Copy | None:
    """Two values that divide the target's range: "expensive: yes, no"."""
    if feature.distinct != 2 or timely or len(x) < 50:
        return None
    high = x == x.max()
    if not 0.05 <= high.mean() <= 0.95 or not (
        y[high].min() > y[~high].max() or y[high].max() < y[~high].min()
    ):
        return None
    if _between(high, y) < HALVED:
        return None
    cut = float(max(min(y[high].max(), y[~high].max()), min(y[high].min(), y[~high].min())))
    return Copy(
        feature.name, "the target in two bands", f"divided at {cut:.6g} in all of {len(x):,} rows", True
    )


def _between(first: np.ndarray, y: np.ndarray) -> float:
    """The share of y's variance that lies between two parts of the rows."""
    share = float(first.mean())
    return share * (1 - share) * float(y[first].mean() - y[~first].mean()) ** 2 / float(y.var())


def _missing_by_size(feature: Feature, y: np.ndarray) -> Copy | None:
    gone = ~feature.present
    if min(gone.sum(), (~gone).sum()) < 2 * LEAST_FLAGGED:
        return None
    above, below = y[gone], y[~gone]
    if not (above.min() > below.max() or above.max() < below.min()):
        return None
    side = "above" if above.min() > below.max() else "below"
    edge = above.min() if side == "above" else above.max()
    return Copy(
        feature.name,
        "missing by the target",
        f"missing in the {gone.sum():,} rows whose target is {edge:.6g} or {side}, and in no other",
        True,
        whole=False,
    )
