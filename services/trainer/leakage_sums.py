"""Columns whose sum or difference is the target: `registered + casual`, or a total that holds it."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from services.trainer.leakage_sample import LARGEST, Sample, names_past

MOST_COLUMNS = 200
MOST_PARTS = 6
ROWS = 4_000
MOSTLY_THERE = 0.8

ONE = 2e-3
"""How far a weight may be from 1 or -1: rounded columns do not add up exactly."""

EXACT = 1e-5
"""Variance of what is left over, over the target's, up to which columns add up to the target."""


class Sum(Struct, frozen=True):
    """`parts`: the columns with weight 1, the ones that hold the target; `less`: those with weight -1."""

    parts: list[str]
    less: list[str]
    evidence: str

    def formula(self) -> str:
        return " + ".join(map(repr, self.parts)) + "".join(f" - {name!r}" for name in self.less)


def find(sample: Sample, copies: set[str]) -> Sum | None:
    """The sum that gives a target of numbers: of two to six columns with weights 1 and -1.

    Other weights are no sum: a target that was generated as a linear function of its features is none.
    """
    if sample.labels is not None:
        return None
    features = [f for f in sample.features if not f.codes and f.name not in copies and f.distinct > 2]
    features = [f for f in features if f.role == "numeric" and f.present.mean() >= MOSTLY_THERE]
    features = [f for f in features if np.nanmax(np.abs(f.values)) < LARGEST]
    if not 2 <= len(features) <= MOST_COLUMNS or np.abs(sample.y).max() >= LARGEST:
        return None
    x = np.column_stack([f.values[:ROWS] for f in features])
    complete = ~np.isnan(x).any(axis=1)
    x, y = x[complete], sample.y[:ROWS][complete]
    # with about as many columns as rows some weights always fit
    if len(y) < max(50, 3 * len(features)):
        return None
    scale = x.std(axis=0)
    live = scale > 0
    if not live.any() or y.std() == 0:
        return None
    features = [f for f, keep in zip(features, live, strict=True) if keep]
    x, scale = x[:, live], scale[live]
    return _checked(x, scale, y, [f.name for f in features])


def _checked(x: np.ndarray, scale: np.ndarray, y: np.ndarray, names: list[str]) -> Sum | None:
    x, y = x - x.mean(axis=0), y - y.mean()
    signs = _of_two(x, y)
    if signs is None:
        signs = _of_more(x, scale, y)
    if signs is None:
        return None
    left = y - x @ signs
    share = float(left @ left) / float(y @ y)
    parts = [name for name, sign in zip(names, signs, strict=True) if sign > 0]
    less = [name for name, sign in zip(names, signs, strict=True) if sign < 0]
    if share > EXACT or not parts or all(names_past(name) for name in parts):
        return None
    return Sum(parts, less, f"{1 - share:.4%} of the target's variance in {len(y):,} rows")


def _of_two(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Signs of two columns that make up y. All pairs at once: |y - xᵢ ∓ xⱼ|² from the columns' products."""
    gram, with_y, of_y = x.T @ x, x.T @ y, float(y @ y)
    each = of_y - 2 * with_y + np.diag(gram)  # |y - xᵢ|²
    for sign in (1, -1):
        left = each[:, None] + np.diag(gram)[None, :] - 2 * sign * (with_y[None, :] - gram)
        np.fill_diagonal(left, np.inf)
        i, j = np.unravel_index(int(left.argmin()), left.shape)
        # a column that changes little adds up to anything
        if left[i, j] <= EXACT * of_y and min(each[i], each[j]) > 100 * EXACT * of_y:
            signs = np.zeros(len(with_y))
            signs[i], signs[j] = 1, sign
            return signs
    return None


def _of_more(x: np.ndarray, scale: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Signs of up to `MOST_PARTS` columns, from the weights of a linear fit."""
    weights = np.linalg.lstsq(x / scale, y, rcond=1e-9)[0] / scale
    used = np.abs(weights) * scale > 3 * ONE * y.std()
    if not 2 <= used.sum() <= MOST_PARTS or (np.abs(np.abs(weights[used]) - 1) > ONE).any():
        return None
    return np.where(used, np.sign(weights), 0)
