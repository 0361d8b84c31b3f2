"""Columns that are a target of classes over again: codes, flags, notes that name a class, and numbers that
the classes were cut from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

from services.trainer.leakage_finding import FEW_VALUES, LEAST_FLAGGED, LEAST_ROWS, SAME, Copy
from services.trainer.leakage_sample import Feature, Sample, names_past, names_time

LEAST_OF_A_CLASS = 5

NEARLY_ONE_TO_ONE = 0.97
"""Phi coefficient (Cramér's V of a two by two table) from which on a flag says what the class is."""

TIGHT = 0.98
"""Share of a column's variance between classes (eta squared) from which on it is a noisy code of them: the
petal length of irises has 0.94."""

ROWS_OF_A_CODE = 10
"""Rows of each value, on average, from which on it is no chance that all are of one class."""

NEAREST = 0.1
DENSE = 0.5
"""A number that classes were cut from has as many rows beside a cut as elsewhere: the tenth of a class that
is nearest to it spans at most this share of what the middle half of the class does. Of two heaps of
measurements that happen to lie apart the tails face each other; there it spans as much."""

READ_ROWS = 4_000
READ_CHARACTERS = 500
"""Of texts, so many and so much of each is searched for words."""

WORD = r"[^\s,;:()\"']+"


def find(sample: Sample) -> list[Copy]:
    """The columns of the sample that are the target, or one class of it, over again."""
    return [copy for feature in sample.features if (copy := _of_classes(feature, sample)) is not None]


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
    if feature.codes:
        return None
    return _cut_from(feature, sample) or _blurred(feature, y, k, labels)


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


def _cut_from(feature: Feature, sample: Sample) -> Copy | None:
    """Numbers of which each class has a stretch of its own, without a gap between them."""
    timely = feature.role == "datetime" or names_time(feature.name) or names_past(feature.name)
    present = feature.present
    x, y = feature.values[present], sample.y[present]
    counts = np.bincount(y, minlength=sample.classes)
    if timely or feature.distinct < 0.2 * len(x) or counts[counts > 0].min() < 2 * LEAST_FLAGGED:
        return None
    order = np.argsort(x, kind="stable")
    ends = np.flatnonzero(np.diff(y[order])) + 1
    stretches = np.split(x[order], ends)
    if len(stretches) != (counts > 0).sum() or len(stretches) < 2:
        return None
    steps = np.diff(x[np.argsort(sample.rows[present], kind="stable")])
    if (steps >= 0).all() or (steps <= 0).all():  # it counts the rows of a sorted table
        return None
    for low, high in itertools.pairwise(stretches):
        if not (_reaches(low[::-1], high[0]) and _reaches(high, low[-1])):
            return None
    cuts = ", ".join(f"{(low[-1] + high[0]) / 2:.6g}" for low, high in itertools.pairwise(stretches))
    said = f"divided at {cuts[:80]} in all of {len(x):,} rows, without a gap"
    return Copy(feature.name, "the number that the classes were cut from", said, True)


def _reaches(stretch: np.ndarray, other: float) -> bool:
    """Whether a class is as dense at its edge as elsewhere, and the next class begins there. `stretch`: its
    values from that edge on; `other`: the next one's nearest."""
    tenth = abs(float(stretch[int(NEAREST * len(stretch))] - stretch[0]))
    middle = abs(float(stretch[int(0.75 * len(stretch))] - stretch[int(0.25 * len(stretch))]))
    return tenth <= DENSE * middle and abs(float(other - stretch[0])) <= max(tenth, 1e-12)


def _in_words(feature: Feature, y: np.ndarray, labels: Sequence[str]) -> Copy | None:
    """A text that holds its row's class, or a word of its own for it, and no other row's."""
    assert feature.texts is not None
    texts = feature.texts.fillna("").astype(str).str.casefold()
    for c, label in enumerate(labels[:20]):
        if len(label) < 3 or (y == c).sum() < LEAST_FLAGGED:
            continue
        says = texts.str.contains(label.casefold(), regex=False).to_numpy()
        table = np.array([[(says & (y == c)).sum(), (says & (y != c)).sum()]])
        phi = _phi(table, np.array([(y == c).sum(), (y != c).sum()]))[0, 0]
        if phi >= NEARLY_ONE_TO_ONE:
            how = f"a text that names the class {_shown(label)}"
            return _named(feature.name, how, table[0], int((y == c).sum()), phi)
    return _in_a_word(feature.name, texts.iloc[:READ_ROWS], y[:READ_ROWS], labels)


def _in_a_word(name: str, texts: pd.Series, y: np.ndarray, labels: Sequence[str]) -> Copy | None:
    """A word that the rows of one class have, and no others."""
    counts = np.bincount(y, minlength=len(labels))
    try:
        words = CountVectorizer(binary=True, token_pattern=WORD, min_df=LEAST_FLAGGED, max_features=5_000)
        held = words.fit_transform(texts.str.slice(0, READ_CHARACTERS))
    except ValueError:  # no word is in so many of them
        return None
    table = np.column_stack([np.asarray(held[y == c].sum(axis=0)).ravel() for c in range(len(labels))])
    phi = np.where(counts >= LEAST_FLAGGED, _phi(table, counts), 0)
    word, c = map(int, np.unravel_index(int(phi.argmax()), phi.shape))
    if phi[word, c] < NEARLY_ONE_TO_ONE:
        return None
    told = np.array([table[word, c], table[word].sum() - table[word, c]])
    said = _shown(str(words.get_feature_names_out()[word]))
    how = f"a text that says {said} for the class {_shown(labels[c])}"
    return _named(name, how, told, int(counts[c]), float(phi[word, c]))


def _named(name: str, how: str, told: np.ndarray, of: int, phi: float) -> Copy:
    """`told`: how many rows of the class say so, and how many others."""
    said = f"{told[0]:,} of {of:,} rows of that class say so, {told[1]:,} others do"
    return Copy(name, how, said, bool(phi > 1 - SAME), whole=False)


def _shown(label: str) -> str:
    return repr(label if len(label) <= 40 else label[:39] + "…")
