"""Columns that are the target over again: copies, recodings, other units, roundings, flags of one class.

Each test asks for something that no measurement does: an exact relation, as far as numbers are exact, over
many rows. What is merely very strong is left to `leakage_strength`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer.leakage_sample import Feature, Sample, names_past, names_time

LEAST_ROWS = 30
"""Rows below which an exact relation may be chance, or a small physical table."""

LEAST_OF_A_CLASS = 5
LEAST_FLAGGED = 10

SAME = 1e-9
"""1 - r² of two columns that are linear in one another: rounding errors of float64, with room to spare."""

MOSTLY_EQUAL = 0.9
NEARLY_ONE_TO_ONE = 0.97
"""Phi coefficient (Cramér's V of a two by two table) from which on a flag says what the class is."""

TIGHT = 0.98
"""Share of a column's variance between classes (eta squared) from which on it is a noisy code of them: the
petal length of irises has 0.94."""

HALVED = 0.5
"""Share of the target's variance between two values that divide it: half of a bell curve against the other
leaves 0.36. What is zero in some rows for a reason may divide it as well, and less evenly."""

ROWS_OF_A_CODE = 10
"""Rows of each value, on average, from which on it is no chance that all are of one class."""

FEW_VALUES = 50
"""Distinct values up to which each is compared with each class."""


class Copy(Struct, frozen=True):
    """What relation was found: `how` completes "it is …". `exact`: not one row speaks against it. `whole`: it
    tells all of the target rather than one class or side of it, so that what it predicts alone says more.
    `blurred`: numbers in heaps."""

    name: str
    how: str
    evidence: str
    exact: bool
    whole: bool = True
    blurred: bool = False


def find(sample: Sample) -> list[Copy]:
    """The columns of the sample that are the target over again."""
    if len(sample.y) < LEAST_ROWS:
        return []
    if sample.labels is not None:
        copies = [copy for feature in sample.features if (copy := _of_classes(feature, sample)) is not None]
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


# --- a target of classes ----------------------------------------------------------------------------


def _of_classes(feature: Feature, sample: Sample) -> Copy | None:
    y, k, labels = sample.y, sample.classes, sample.labels or []
    counts = np.bincount(y, minlength=k)
    if np.sort(counts)[-2] < LEAST_OF_A_CLASS:
        return None
    present = feature.present
    if (gone := _missing_by_class(feature, y, counts, labels)) is not None:
        return gone
    if present.sum() < max(LEAST_ROWS, 0.05 * len(y)) or feature.distinct < 2:
        return None
    if feature.distinct <= max(FEW_VALUES, 2 * k) and 5 * feature.distinct <= present.sum():
        return _coded(feature, y, k, labels)
    if feature.texts is not None:
        return _in_words(feature, y, labels)
    return None if feature.codes else _blurred(feature, y, k, labels)


def _missing_by_class(
    feature: Feature, y: np.ndarray, counts: np.ndarray, labels: Sequence[str]
) -> Copy | None:
    gone = ~feature.present
    if min(gone.sum(), (~gone).sum()) < LEAST_FLAGGED:
        return None
    missing = np.bincount(y[gone], minlength=len(counts))
    phi = _phi(missing[None, :], counts)[0]
    if np.abs(phi).max() < NEARLY_ONE_TO_ONE:
        return None
    c = int(np.abs(phi).argmax())
    where = "only there" if phi[c] > 0 else "everywhere else"
    return Copy(
        feature.name,
        f"missing by the class {_shown(labels[c])}",
        f"missing in {missing[c]:,} of {counts[c]:,} rows of that class and in "
        f"{missing.sum() - missing[c]:,} of {len(y) - counts[c]:,} others ({where})",
        bool(np.abs(phi[c]) > 1 - SAME),
        whole=False,
    )


def _coded(feature: Feature, y: np.ndarray, k: int, labels: Sequence[str]) -> Copy | None:
    """One value for each class, or one value (of a flag) for one class, whatever they are called."""
    present = feature.present
    values = np.unique(feature.values[present], return_inverse=True)[1]
    table = np.zeros((feature.distinct, k))
    np.add.at(table, (values, y[present]), 1)
    counts = table.sum(axis=0)
    if np.sort(counts)[-2] < LEAST_OF_A_CLASS:
        return None
    phi = _phi(table, counts)
    rows = int(present.sum())
    agreeing = table.max(axis=1).sum()
    seen = counts > 0
    one_each = len(set(table.argmax(axis=1))) == feature.distinct == seen.sum()
    if one_each and min(phi[v, c] for v, c in enumerate(table.argmax(axis=1))) >= NEARLY_ONE_TO_ONE:
        share = f"{agreeing / rows:.2%} of {rows:,} rows"
        said = f"each of its {feature.distinct} values goes with one class in {share}"
        return Copy(feature.name, "the target under other names", said, agreeing == rows)
    if feature.codes and agreeing == rows and rows >= ROWS_OF_A_CODE * feature.distinct:
        said = f"each of its {feature.distinct} values is found with one class only, in {rows:,} rows"
        return Copy(feature.name, "the target in finer classes", said, True)
    supported = (counts >= LEAST_FLAGGED)[None, :] & (table.sum(axis=1) >= LEAST_FLAGGED)[:, None]
    sure = np.where(supported, np.abs(phi), 0)
    if feature.distinct > 2 or sure.max() < NEARLY_ONE_TO_ONE:
        return _blurred(feature, y, k, labels) if not feature.codes and feature.distinct > k else None
    _, c = np.unravel_index(int(sure.argmax()), sure.shape)
    said = f"agrees with that class in {_agreement(table, counts, int(c)) / rows:.2%} of {rows:,} rows"
    return Copy(
        feature.name,
        f"a flag of the class {_shown(labels[int(c)])}",
        said,
        bool(sure.max() > 1 - SAME),
        whole=False,
    )


def _agreement(table: np.ndarray, counts: np.ndarray, c: int) -> float:
    """Rows in which the better of a flag's two values says whether they are of class c."""
    rows = counts.sum()
    hits = table[:, c] + (rows - counts[c]) - (table.sum(axis=1) - table[:, c])
    return float(hits.max())


def _phi(table: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Phi coefficients (Pearson's r of two indicators), shape (values, classes), of "has this value" and "is
    of this class". `table`: rows by value and class; `counts`: rows by class."""
    n = counts.sum()
    of_value = table.sum(axis=1, keepdims=True)
    spread = np.sqrt(of_value * (n - of_value) * counts * (n - counts))
    with np.errstate(all="ignore"):
        return np.nan_to_num((n * table - of_value * counts) / spread)


def _blurred(feature: Feature, y: np.ndarray, k: int, labels: Sequence[str]) -> Copy | None:
    """Numbers that lie in a heap of their own for each class, or for one class and all others: a code of the
    classes with noise on it."""
    if names_past(feature.name):
        return None
    present = feature.present
    x, y = feature.values[present], y[present]
    x = (x - x.mean()) / (x.std() or 1)
    counts = np.bincount(y, minlength=k)
    if np.sort(counts)[-2] < LEAST_FLAGGED:
        return None
    sums, squares = np.bincount(y, x, minlength=k), np.bincount(y, x * x, minlength=k)
    with np.errstate(all="ignore"):
        between = float(np.nansum(sums**2 / counts)) / squares.sum()
        inside = sums**2 / counts + (sums.sum() - sums) ** 2 / (len(x) - counts)
    if between >= TIGHT and (counts > 0).sum() >= 2:
        said = f"{between:.2%} of its variance lies between the classes"
        return Copy(feature.name, "a number for each class, with noise", said, False, blurred=True)
    alone = np.where(counts >= LEAST_FLAGGED, np.nan_to_num(inside) / squares.sum(), 0)
    if alone.max() >= TIGHT:
        said = f"{alone.max():.2%} of its variance lies between that class and the others"
        return Copy(
            feature.name,
            f"a flag of the class {_shown(labels[int(alone.argmax())])}, with noise",
            said,
            False,
            whole=False,
            blurred=True,
        )
    return None


def _in_words(feature: Feature, y: np.ndarray, labels: Sequence[str]) -> Copy | None:
    """A text that holds its row's class as a word, and no other row's."""
    assert feature.texts is not None
    texts = feature.texts.fillna("").astype(str).str.casefold()
    for c, label in enumerate(labels[:20]):
        if len(label) < 3 or (y == c).sum() < LEAST_FLAGGED:
            continue
        says = texts.str.contains(label.casefold(), regex=False).to_numpy()
        table = np.array([[(says & (y == c)).sum(), (says & (y != c)).sum()]])
        phi = _phi(table, np.array([(y == c).sum(), (y != c).sum()]))[0, 0]
        if phi >= NEARLY_ONE_TO_ONE:
            said = (
                f"{table[0, 0]:,} of {(y == c).sum():,} rows of that class say so, {table[0, 1]:,} others do"
            )
            return Copy(
                feature.name,
                f"a text that names the class {_shown(label)}",
                said,
                bool(phi > 1 - SAME),
                whole=False,
            )
    return None


def _shown(label: str) -> str:
    return repr(label if len(label) <= 40 else label[:39] + "…")
