"""What can be fitted: one function a model, from a plan to an unfitted scikit-learn estimator.

The slugs are those of `shared.contracts.MODELS`; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from sklearn.pipeline import Pipeline

from services.trainer.prepare import Columns
from shared.contracts import TaskType
from shared.errors import CannotTrain


class Situation(Struct, kw_only=True):
    """What an estimator's settings depend on: rows and the rarest class of the part it is fitted on
    (`rarest` and `classes` are 0 for a regression), its columns, the seed, the threads it may use."""

    columns: Columns
    rows: int
    rarest: int
    classes: int
    seed: int
    threads: int

    def stops_early(self, share: float = 0.1) -> bool:
        """Whether a `share` of the rows can be split off, every class in both parts.

        scikit-learn's early stopping stratifies its split and refuses a class of one row.
        """
        held = math.floor(self.rows * share)
        return held >= max(20, self.classes) and (self.classes == 0 or self.rarest >= 2)


Builder = Callable[[Situation], Pipeline]


def situation(
    columns: Columns, target: np.ndarray, task_type: TaskType, seed: int, threads: int
) -> Situation:
    """What `build` has to know of the part (`target`: (n,)) that the estimator will be fitted on."""
    counts = (
        np.unique(target, return_counts=True)[1]
        if task_type is TaskType.CLASSIFICATION
        else np.zeros(0, dtype=int)
    )
    return Situation(
        columns=columns,
        rows=len(target),
        rarest=int(counts.min()) if len(counts) else 0,
        classes=len(counts),
        seed=seed,
        threads=threads,
    )


def builders(task_type: TaskType) -> dict[str, Builder]:
    """Slug → builder, for a tabular task type."""
    if task_type is TaskType.CLASSIFICATION:
        from services.trainer.candidates.classification import BUILDERS
    elif task_type is TaskType.REGRESSION:
        from services.trainer.candidates.regression import BUILDERS
    else:
        raise CannotTrain(f"{task_type} models are not fitted on plain tables")
    return BUILDERS


def build(model_name: str, task_type: TaskType, given: Situation) -> Pipeline:
    """The unfitted pipeline of one model: raw table in, the table's own labels or numbers out.

    Raises CannotTrain for a slug that the task type does not know.
    """
    known = builders(task_type)
    if model_name not in known:
        raise CannotTrain(f"no {task_type} model is called {model_name!r}")
    return known[model_name](given)


ROW_LIMITS: dict[str, int] = {"k_nearest_neighbors": 10_000}
"""Models that keep their rows and search them for each answer: beyond this they are fitted on a random
sample. Some 0.1 ms a row is answered in then."""
