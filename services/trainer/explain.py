"""What a fitted model relies on, and what it answers for a few rows of the table."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline

from services.trainer.outcome import Example, Importance

EXAMPLE_ROWS = 5

IMPORTANCE_ROWS = 2_000
"""Held-out rows that are shuffled at most: the means move little beyond."""

REPEATS = (5, 3, 1)
"""Shuffles of each column, as many as there is time for."""

Measure = Callable[[Pipeline, pd.DataFrame, np.ndarray], float | None]
"""(fitted model, raw rows, their true targets) → a metric in its natural sign."""


def example(model: Pipeline, features: pd.DataFrame, positions: np.ndarray) -> Example:
    """The first rows at `positions` as JSON objects, and what the model predicts from those objects."""
    chosen = features.iloc[positions[:EXAMPLE_ROWS]]
    rows = [
        {str(name): json_value(value) for name, value in zip(chosen.columns, row, strict=True)}
        for row in chosen.itertuples(index=False, name=None)
    ]
    # from the objects and not from the table: it is what a reader of example.json will do
    predictions = model.predict(pd.DataFrame(rows, columns=[str(name) for name in chosen.columns]))
    return Example(rows=rows, predictions=[json_value(value) for value in predictions.tolist()])


def json_value(value: Any) -> Any:
    """A cell as JSON has it: missing and not finite are null, times are ISO 8601."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (pd.Timestamp, dt.date, dt.time)):
        return None if value is pd.NaT else value.isoformat()
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (float, decimal.Decimal)):
        number = float(value)
        return number if math.isfinite(number) else None
    return None if value is None or value is pd.NA or value is pd.NaT else str(value)


def permutation(
    model: Pipeline,
    measure: Measure,
    features: pd.DataFrame,
    truth: np.ndarray,
    *,
    greater_is_better: bool,
    seed: int,
    seconds: float,
) -> list[Importance]:
    """What the metric loses when one column of held-out rows is shuffled, greatest loss first.

    `features`: (n, columns), raw; `truth`: (n,). Empty where the metric is undefined on the rows, and
    where `seconds` do not suffice for one shuffle of each column. Source: Breiman 2001, "Random
    Forests", section 10, as in scikit-learn's `permutation_importance`.
    """
    sign = 1.0 if greater_is_better else -1.0
    chosen = np.random.default_rng(seed).permutation(len(truth))[:IMPORTANCE_ROWS]
    rows, truth = features.iloc[chosen], truth[chosen]

    def signed(fitted: Pipeline, table: pd.DataFrame, targets: np.ndarray) -> float:
        value = measure(fitted, table, targets)
        return math.nan if value is None else sign * value

    started = time.perf_counter()
    if math.isnan(signed(model, rows, truth)):
        return []
    one_shuffle = (time.perf_counter() - started) * len(rows.columns)
    repeats = next((count for count in REPEATS if one_shuffle * count <= seconds), 0)
    if not repeats:
        return []
    found = permutation_importance(
        model, rows, truth, scoring=signed, n_repeats=repeats, random_state=seed, n_jobs=1
    )
    losses = [
        Importance(feature=str(name), mean=float(mean), std=float(std))
        for name, mean, std in zip(rows.columns, found.importances_mean, found.importances_std, strict=True)
        if math.isfinite(mean) and math.isfinite(std)
    ]
    return sorted(losses, key=lambda loss: -loss.mean)
