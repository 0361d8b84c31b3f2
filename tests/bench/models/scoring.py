"""What a competitor's predictions are worth: the same code for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)


def key(label: object) -> str:
    """A class as text, the same for 1, 1.0 and "1": each library reads a file's labels in its own way."""
    try:
        return f"{float(str(label)):g}"
    except ValueError:
        return str(label)


def aligned(values: np.ndarray, classes: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Probabilities (rows, len(classes)) in the order of `known`, each row adding up to 1.

    A class that the model does not know gets 0, as it would in use. Raises ValueError for a class that is not
    known, and for rows that are no probabilities.
    """
    of = {key(name): position for position, name in enumerate(classes)}
    if strange := sorted(set(of) - set(known)):
        raise ValueError(f"it predicts classes that the table has not: {', '.join(strange[:5])}")
    if not np.isfinite(values).all() or (values < -1e-6).any():
        raise ValueError("its probabilities are not all numbers from 0 to 1")
    proba = np.zeros((len(values), len(known)))
    for position, name in enumerate(known):
        if name in of:
            proba[:, position] = values[:, of[name]].clip(0)
    total = proba.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise ValueError("its probabilities are 0 for all classes of a row")
    return proba / total


def scores(
    task: str, truth: Sequence[object], values: np.ndarray, classes: Sequence[str], known: Sequence[object]
) -> dict[str, float]:
    """The metrics of held-out rows. `truth`: (rows,); `values` and `classes`: as in `peers.job`; `known`: the
    classes of the whole table. The probability that log-loss sees is at least float64's epsilon, as in
    scikit-learn. Raises ValueError for predictions that cannot be scored."""
    if len(truth) != len(values):
        raise ValueError(f"it predicts {len(values)} rows of {len(truth)}")
    if task == "regression":
        numbers = np.asarray(truth, float)
        if not np.isfinite(values).all():
            raise ValueError("its predictions are not all numbers")
        return {
            "r2": float(r2_score(numbers, values)),
            "rmse": float(root_mean_squared_error(numbers, values)),
            "mae": float(mean_absolute_error(numbers, values)),
        }
    labels = sorted({key(label) for label in known})
    proba = aligned(values, classes, labels)
    codes = np.array([labels.index(key(label)) for label in truth])
    found = {
        "log_loss": float(log_loss(codes, proba, labels=range(len(labels)))),
        "accuracy": float(accuracy_score(codes, proba.argmax(axis=1))),
    }
    if task == "binary":
        found["roc_auc"] = float(roc_auc_score(codes, proba[:, 1]))
    return found
