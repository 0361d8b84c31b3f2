"""AutoGluon with its preset `medium_quality` (its default) and the time budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor

from tests.bench.models.peers.job import Job, main


@dataclass
class Predictor:
    predictor: TabularPredictor
    classes: Sequence[object] | None
    note: str

    def save(self, folder: Path) -> None:
        """It saved itself while it was fitted."""

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        if self.classes is None:
            return self.predictor.predict(features).to_numpy()
        return self.predictor.predict_proba(features)[list(self.classes)].to_numpy()


def fit(job: Job, features: pd.DataFrame, y: pd.Series) -> Predictor:
    predictor = TabularPredictor(
        label=job.target,
        problem_type=job.task,
        eval_metric=job.metric,
        path=str(job.folder),
        verbosity=2,  # into the log, for where it fails
    )
    predictor.fit(
        features.assign(**{job.target: y}),
        presets="medium_quality",
        time_limit=job.budget,
        num_cpus=job.cores,
        num_gpus=0,
    )
    classes = list(predictor.class_labels) if job.classifies else None
    return Predictor(predictor, classes, note=predictor.model_best)


if __name__ == "__main__":
    main(fit)
