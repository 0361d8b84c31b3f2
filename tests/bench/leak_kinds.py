"""Ways to spoil a clean table, each of which gives the target away, and how the guard's answer is judged.

Each takes a table, its target, whether that is classes, and a random generator; it gives the spoiled table
and the column it planted, or None in its place where rows were spoiled. None altogether where the kind does
not apply: a table of classes has no target in other units.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from msgspec import Struct

Spoiled = tuple[pd.DataFrame, str | None] | None
PLANTED = "field_7"
"""A name that says nothing."""

COLUMN = frozenset({"leaked-target", "suspiciously-strong"})


class Kind(Struct, frozen=True):
    """`codes`: the notices that count as found, if they name the planted column where there is one."""

    name: str
    spoil: Callable[[pd.DataFrame, str, bool, np.random.Generator], Spoiled]
    codes: frozenset[str] = COLUMN


def _with(frame: pd.DataFrame, target: str, values: object) -> Spoiled:
    at = len(frame.columns) // 2
    spoiled = frame.copy()
    spoiled.insert(at, PLANTED, values)
    return spoiled, PLANTED


def _numbers(frame: pd.DataFrame, target: str) -> np.ndarray:
    return frame[target].to_numpy(dtype=np.float64)


def _codes(frame: pd.DataFrame, target: str) -> np.ndarray:
    return pd.factorize(frame[target])[0]


def copy(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    return _with(frame, target, frame[target].to_numpy())


def copy_with_gaps(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    return _with(frame, target, frame[target].mask(rng.random(len(frame)) < 0.1))


def nearly_a_copy(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """1% of the standard deviation as noise, or rows under another class: of each 1% of the rarest."""
    if not classes:
        y = _numbers(frame, target)
        return _with(frame, target, y + rng.normal(0, 0.01 * np.nanstd(y), len(y)))
    codes = _codes(frame, target)
    k = codes.max() + 1
    wrong = np.zeros(len(codes), dtype=bool)
    for c in range(k):
        rows = np.flatnonzero(codes == c)
        wrong[rng.permutation(rows)[: round(0.01 * np.bincount(codes).min())]] = True
    return _with(frame, target, np.where(wrong, (codes + 1) % k, codes))


def other_units(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    return None if classes else _with(frame, target, 32 + 1.8 * _numbers(frame, target))


def rounded(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """To a hundredth of the range."""
    if classes:
        return None
    y = _numbers(frame, target)
    unit = (np.nanmax(y) - np.nanmin(y)) / 100
    return _with(frame, target, np.round(y / unit))


def in_bands(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """Five bands of as many rows each, under names."""
    if classes or frame[target].nunique() < 25:
        return None
    bands = pd.qcut(frame[target], 5, labels=False, duplicates="drop")
    return _with(frame, target, np.array(["E", "C", "A", "D", "B"])[bands])


def logarithm(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    if classes:
        return None
    y = _numbers(frame, target)
    return _with(frame, target, np.log(y - np.nanmin(y) + 0.1 * np.nanstd(y)))


def ranks(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    return None if classes else _with(frame, target, -frame[target].rank(pct=True))


def other_names(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """One number for each class, in an order of its own."""
    if not classes:
        return None
    codes = _codes(frame, target)
    return _with(frame, target, rng.permutation(np.arange(11, 11 + 7 * (codes.max() + 1), 7))[codes])


def noisy_code(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    if not classes:
        return None
    return _with(frame, target, _codes(frame, target) + rng.normal(0, 0.04, len(frame)))


def one_class(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    if not classes:
        return None
    codes = _codes(frame, target)
    return _with(frame, target, (codes == np.bincount(codes).argmax()).astype(int))


def finer_classes(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """Three codes for each class, as with a diagnosis written out."""
    if not classes:
        return None
    codes = _codes(frame, target) * 3 + rng.integers(0, 3, len(frame))
    return _with(frame, target, np.array([f"c{v}" for v in rng.permutation(codes.max() + 1)])[codes])


def threshold(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """The number that a target of two classes was cut from."""
    if not classes or frame[target].nunique() != 2:
        return None
    return _with(frame, target, np.exp(rng.uniform(0, 1, len(frame)) + _codes(frame, target)))


def missing(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """A column that is empty for one class, or above the median; what it holds means nothing."""
    given = rng.gamma(2, 3, len(frame)).round(2)
    if classes:
        codes = _codes(frame, target)
        gone = codes == np.bincount(codes).argmin()
        if gone.sum() < 15:
            return None
    else:
        gone = (frame[target] > frame[target].median()).to_numpy()
    return _with(frame, target, np.where(gone, np.nan, given))


def in_words(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """A note that names the class."""
    if not classes or frame[target].astype(str).str.len().min() < 3:
        return None
    first = rng.choice(["seen on ward", "checked twice", "sent by post", "no remarks but"], len(frame))
    last = rng.choice(["by the clerk", "in spring", "at the desk", "as agreed"], len(frame))
    number = rng.integers(100, 999, len(frame)).astype(str)
    words = [
        f"{a}: {b} {c} {d}" for a, b, c, d in zip(first, frame[target].astype(str), last, number, strict=True)
    ]
    return _with(frame, target, words)


def parts(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """Two columns whose sum is the target."""
    if classes:
        return None
    y = _numbers(frame, target)
    share = y * rng.uniform(0.2, 0.8, len(y))
    spoiled = frame.copy()
    spoiled.insert(0, "other_part", y - share)
    return _with(spoiled, target, share)


def total(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """The target and another column added up."""
    y = None if classes else _numbers(frame, target)
    if y is None:
        return None
    other = rng.gamma(3, np.nanstd(y), len(y))
    spoiled = frame.copy()
    spoiled.insert(0, "other", other)
    return _with(spoiled, target, y + other)


def row_numbers(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """Numbers with gaps in a table that is sorted by the target, and is shuffled no more."""
    ordered = frame.sample(frac=1, random_state=3).sort_values(target, kind="stable").reset_index(drop=True)
    return _with(ordered, target, np.cumsum(rng.integers(1, 9, len(frame))) + 4_000)


def next_target(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """In a table of days, the target of the day after."""
    if classes or frame[target].nunique() < 20 or not 60 <= len(frame) <= 20_000:
        return None
    y = frame[target].reset_index(drop=True)
    spoiled = frame.assign(day=pd.date_range("1990-01-01", periods=len(frame)).astype(str))
    return _with(spoiled, target, y.shift(-1).to_numpy())


def copied_rows(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """A quarter of the rows twice, shuffled."""
    if not _rich(frame, target):
        return None
    again = frame.sample(frac=0.25, random_state=int(rng.integers(1_000)))
    return pd.concat([frame, again]).sample(frac=1, random_state=1).reset_index(drop=True), None


def conflicting(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """A quarter of the rows again, under another class."""
    if not classes or not _rich(frame, target):
        return None
    again = frame.sample(frac=0.25, random_state=int(rng.integers(1_000)))
    other = dict(zip(frame[target].unique(), np.roll(frame[target].unique(), 1), strict=True))
    again = again.assign(**{target: again[target].map(other)})
    return pd.concat([frame, again]).sample(frac=1, random_state=1).reset_index(drop=True), None


def patients(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """Each row four times with 1% of noise, and a column that says whose they are."""
    frame = frame.head(4_000)
    spoiled = pd.concat([frame] * 4, ignore_index=True)
    for name in spoiled.select_dtypes("number").columns.drop(target, errors="ignore"):
        if spoiled[name].nunique() > 10:
            noise = 0.01 * spoiled[name].std() * rng.normal(size=len(spoiled))
            spoiled[name] = spoiled[name] + noise
    spoiled.insert(0, "patient", [f"P{i:05d}" for i in np.tile(rng.permutation(len(frame)), 4)])
    return spoiled.sample(frac=1, random_state=1).reset_index(drop=True), "patient"


def drift(frame: pd.DataFrame, target: str, classes: bool, rng: np.random.Generator) -> Spoiled:
    """Dates by which the target grows."""
    y = _codes(frame, target) if classes else frame[target].rank(pct=True).to_numpy()
    late = y / (np.nanmax(y) or 1) + 0.02 * rng.normal(size=len(frame))
    hours = pd.Series(late).rank(method="first").to_numpy()
    dates = pd.Timestamp("2019-01-01") + pd.to_timedelta(hours, unit="h")
    return frame.assign(seen=dates.astype(str)), None


def _rich(frame: pd.DataFrame, target: str) -> bool:
    """Whether rows are hardly ever alike by chance, so that copies can be told at all."""
    features = frame.drop(columns=target)
    return float(features.duplicated(keep=False).mean()) < 0.01


KINDS = [
    *(Kind(spoil.__name__.replace("_", " "), spoil) for spoil in (copy, copy_with_gaps, nearly_a_copy)),
    *(
        Kind(spoil.__name__.replace("_", " "), spoil)
        for spoil in (other_units, rounded, in_bands, logarithm, ranks)
    ),
    *(
        Kind(spoil.__name__.replace("_", " "), spoil)
        for spoil in (other_names, noisy_code, one_class, finer_classes)
    ),
    *(
        Kind(spoil.__name__.replace("_", " "), spoil)
        for spoil in (threshold, missing, in_words, parts, total)
    ),
    Kind("row numbers", row_numbers, COLUMN | {"informative-row-number", "identifier-column"}),
    Kind("next target", next_target, frozenset({"future-information"})),
    Kind("copied rows", copied_rows, frozenset({"duplicate-rows-across-split"})),
    Kind("conflicting", conflicting, frozenset({"conflicting-labels"})),
    Kind("patients", patients, frozenset({"groups-split-apart"})),
    Kind("drift", drift, frozenset({"time-ordered-rows"})),
]
