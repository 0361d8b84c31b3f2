"""What can be fitted: one function a model, from a plan to an unfitted scikit-learn estimator.

The slugs are those of `shared.contracts.catalogue.MODELS`; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np
from msgspec import Struct
from sklearn.pipeline import Pipeline

from services.trainer.prepare import Columns
from shared.contracts.states import TaskType
from shared.errors import CannotTrain

Shape = Literal["plain", "log", "log1p"]
"""How a regression's target is transformed before it is learnt."""

T = TypeVar("T")


class Settings(Struct, frozen=True):
    """What may differ between two fits of one candidate on the same rows.

    `knobs`: settings other than the defaults, by the names under which the builders ask for them.
    `effort`: trees of a forest, rounds of a booster, epochs of a network; None is the family's own.
    `most_effort`: what there is time for, None where that is enough; a learning rate depends on it.
    `threshold`: the probability from which on the second of two classes is answered, None is a half.
    """

    knobs: dict[str, Any] = {}
    shape: Shape = "plain"
    effort: int | None = None
    most_effort: int | None = None
    threshold: float | None = None


class Situation(Struct, kw_only=True):
    """What an estimator's settings depend on: rows and the rarest class of the part it is fitted on
    (`rarest` and `classes` are 0 for a regression), its columns, the seed, the threads it may use, the
    metric that was asked for ("" for none)."""

    columns: Columns
    rows: int
    rarest: int
    classes: int
    seed: int
    threads: int
    metric: str = ""
    settings: Settings = Settings()
    bounds: tuple[float, float] | None = None
    """Of a regression's target on these rows: what a transformed target is kept near to."""

    @property
    def shape(self) -> Shape:
        return self.settings.shape

    @property
    def effort(self) -> int | None:
        return self.settings.effort if self.settings.effort is not None else self.settings.most_effort

    @property
    def most_effort(self) -> int | None:
        return self.settings.most_effort

    def knob(self, name: str, usual: T) -> T:
        return self.settings.knobs.get(name, usual)

    def stops_early(self, share: float = 0.1) -> bool:
        """Whether a `share` of the rows can be split off, every class in both parts.

        scikit-learn's early stopping stratifies its split and refuses a class of one row.
        """
        held = math.floor(self.rows * share)
        return held >= max(20, self.classes) and (self.classes == 0 or self.rarest >= 2)


Builder = Callable[[Situation], Pipeline]


def situation(
    columns: Columns,
    target: np.ndarray,
    task_type: TaskType,
    seed: int,
    threads: int,
    metric: str = "",
    settings: Settings | None = None,
) -> Situation:
    """What `build` has to know of the part (`target`: (n,)) that the estimator will be fitted on."""
    of_classes = task_type is TaskType.CLASSIFICATION
    counts = np.unique(target, return_counts=True)[1] if of_classes else np.zeros(0, dtype=int)
    return Situation(
        columns=columns,
        rows=len(target),
        rarest=int(counts.min()) if len(counts) else 0,
        classes=len(counts),
        seed=seed,
        threads=threads,
        metric=metric,
        settings=settings or Settings(),
        bounds=None if of_classes or not len(target) else (float(target.min()), float(target.max())),
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
