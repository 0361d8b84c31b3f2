"""An ensemble as one scikit-learn estimator over fitted members, none of which is fitted again.

Members are frozen: `fit` on a row of each class tells the estimator its classes and leaves them as they are.
It opens with the members' libraries alone, and takes the raw table as each of them does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier

from services.trainer.ensemble import Learnt
from shared.errors import CannotTrain


def assembled(
    learnt: Learnt, members: Mapping[str, Any], features: pd.DataFrame, labels: np.ndarray | None
) -> BaseEstimator:
    """`members`: slug → fitted estimator, those that `learnt` gives weight, in its order; `features`: some
    rows, at least as many as there are `labels` (sorted; None for numbers). Raises CannotTrain where a member
    does not know every class."""
    frozen = [(slug, FrozenEstimator(member)) for slug, member in members.items()]
    weights = learnt.weights[learnt.weights > 0].tolist()
    if labels is None:
        some, y = features.iloc[:2], np.array([0.0, 1.0])
        if learnt.meta is None:
            return VotingRegressor(frozen, weights=weights).fit(some, y)
        return StackingRegressor(frozen, FrozenEstimator(learnt.meta), cv="prefit").fit(some, y)
    for slug, member in members.items():
        if not np.array_equal(member.classes_, labels):
            raise CannotTrain(f"{slug} does not know every class")
    some = features.iloc[: len(labels)]
    if learnt.meta is None:
        # answers of each member side by side, as ONNX needs them
        made = VotingClassifier(frozen, voting="soft", weights=weights, flatten_transform=False)
    else:
        made = StackingClassifier(
            frozen, FrozenEstimator(learnt.meta), cv="prefit", stack_method="predict_proba"
        )
    made = made.fit(some, labels)
    if learnt.cut is None:
        return made
    cut = FixedThresholdClassifier(
        FrozenEstimator(made),
        threshold=learnt.cut,
        pos_label=labels[1],
        response_method="predict_proba",
    )
    return cut.fit(some, labels)
