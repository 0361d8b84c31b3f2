"""A fitted scikit-learn-like model as `job.Fitted`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd


@dataclass
class Estimator:
    """`model` has predict_proba or predict; `prepare` is done to the features before, and not saved."""

    model: Any
    classes: Sequence[object] | None
    note: str = ""
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame

    def save(self, folder: Path) -> None:
        joblib.dump(self.model, folder / "model.pkl")

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        prepared = self.prepare(features)
        if self.classes is None:
            return np.asarray(self.model.predict(prepared))
        return np.asarray(self.model.predict_proba(prepared))
