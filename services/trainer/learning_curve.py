"""How a model's score grows with the rows that it is fitted on: whether more of them would help.

As scikit-learn's `learning_curve`, on nested parts of each fold's training rows; not that function, because
every part must hold a row of each class, and because a part that there is no time for is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from msgspec import Struct

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Parts that are fitted on; the whole is what was validated already."""
LEAST_ROWS = 20
"""A part has no fewer rows: what is fitted on less says nothing about the model."""
FOLDS = (3, 2)
"""Each part is fitted in this many folds, as there is time for; one alone would have no band."""
SCORED_ROWS = 1_000
"""Of its own training rows, a model is scored on no more."""

Model = TypeVar("Model")


class Points(Struct, kw_only=True):
    """`rows`: (sizes,), ascending, those fitted on. `training`, `validation`: (sizes, folds), the score on
    the rows that were fitted on and on those of the fold that were not; NaN where it is not known."""

    rows: list[int]
    training: np.ndarray
    validation: np.ndarray


def measured(
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    whole: Sequence[float],
    whole_training: float | None,
    *,
    limit: int,
    part: Callable[[np.ndarray, int], np.ndarray],
    fitted: Callable[[np.ndarray], Model],
    score: Callable[[Model, np.ndarray], float | None],
    fit_seconds: float,
    seconds: float,
) -> Points | None:
    """The learning curve, in at most about `seconds`; None where there are too few rows or too little time.

    `folds`: row positions (learn, valid) of each; `whole`: the score of each when fitted on all of `learn`
    (on `limit` of it at most), and `whole_training` the like on training rows; one such fit takes
    `fit_seconds`. `part(positions, size)` takes the same first rows for a smaller size; `fitted(positions)`
    gives a model and `score(model, positions)` its score.
    """
    largest = min(min((len(learn) for learn, _ in folds), default=0), limit)
    sizes = [size for share in SHARES if (size := int(share * largest)) >= LEAST_ROWS]
    known = min(len(folds), len(whole))
    counts = [count for count in FOLDS if count <= known and count * sum(SHARES) * fit_seconds <= seconds]
    if len(sizes) < 2 or not counts:
        return None

    ends = time.perf_counter() + seconds
    training, validation = [], []
    for size in sizes:
        scores = []
        for learn, valid in folds[: counts[0]]:
            if time.perf_counter() > ends:
                break
            rows = part(learn, size)
            model = fitted(rows)
            scores.append((score(model, rows[:: max(1, len(rows) // SCORED_ROWS)]), score(model, valid)))
        if len(scores) < counts[0]:
            break
        training.append([scored[0] for scored in scores])
        validation.append([scored[1] for scored in scores])
    if len(validation) < 2:
        return None
    training.append([whole_training] * counts[0])
    validation.append(list(whole[: counts[0]]))
    return Points(
        rows=[*sizes[: len(validation) - 1], largest],
        training=np.array(training, dtype=float),
        validation=np.array(validation, dtype=float),
    )
