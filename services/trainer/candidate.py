"""One model on one table: what every one of its fits shares, and how its answers are scored."""

from __future__ import annotations

import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.pipeline import Pipeline

from services.trainer import candidates, evaluate, prepare, side_by_side
from services.trainer.candidates import Settings
from services.trainer.table_rows import Rows, sample
from shared.contracts.catalogue import METRICS
from shared.contracts.training import Plan


class Candidate(Struct):
    """`row_limit`: the most rows it is fitted on; `settings`: those that its next fits use; `wide`: how many
    pieces of its work are computed side by side (`side_by_side`), 1 where all of it is done here."""

    plan: Plan
    model_name: str
    rows: Rows
    columns: prepare.Columns
    threads: int
    row_limit: int
    settings: Settings = Settings()
    wide: int = 1

    @property
    def greater_is_better(self) -> bool:
        return METRICS[self.plan.task_type][self.plan.metric]

    def limited(self, positions: np.ndarray) -> np.ndarray:
        """These rows, or a random sample of them where they are over the limit."""
        if len(positions) <= self.row_limit:
            return positions
        return sample(positions, self.rows, self.row_limit, self.plan.seed)

    def fitted(self, positions: np.ndarray, given: candidates.Situation | None = None) -> Pipeline:
        """Fit on these rows, as far as the limit lets it."""
        positions = self.limited(positions)
        pipeline = self.unfitted(positions, given)
        features, y = self.rows.features.iloc[positions], self.rows.y[positions]
        if self.wide > 1 and self.model_name in side_by_side.IN_PIECES:
            return side_by_side.fitted(pipeline, features, y)
        return pipeline.fit(features, y)

    def unfitted(self, positions: np.ndarray, given: candidates.Situation | None = None) -> Pipeline:
        return candidates.build(self.model_name, self.plan.task_type, given or self.situation(positions))

    def situation(self, positions: np.ndarray) -> candidates.Situation:
        plan = self.plan
        return candidates.situation(
            self.columns,
            self.rows.y[positions],
            plan.task_type,
            plan.seed,
            self.threads,
            plan.metric,
            self.settings,
        )

    def answers(self, model: Pipeline, features: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Probabilities (n, k) in the order of the plan's labels, or numbers (n, 1)."""
        if self.rows.labels is None:
            return np.asarray(model.predict(features), dtype=np.float64)[:, None]
        proba = np.asarray(model.predict_proba(features), dtype=np.float64)
        return evaluate.aligned(proba, model.classes_, self.rows.labels)

    def predicted(self, answers: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """What the model says where it answers so: numbers (n,), or labels (n,), of two the second from
        `threshold` on."""
        labels = self.rows.labels
        if labels is None:
            return answers[:, 0]
        if threshold is not None:
            return labels[(answers[:, 1] >= threshold).astype(int)]
        return labels[answers.argmax(axis=1)]

    def score(self, truth: np.ndarray, answers: np.ndarray, threshold: float | None = None) -> float | None:
        """The plan's metric in its natural sign, None where these rows leave it undefined."""
        labels = self.rows.labels
        proba = None if labels is None else answers
        return evaluate.score(self.plan.metric, truth, self.predicted(answers, threshold), proba, labels)

    def measure(self, model: Pipeline, features: pd.DataFrame, truth: np.ndarray) -> float | None:
        """The plan's metric of a fitted model on raw rows."""
        return self.score(truth, self.answers(model, features), self.settings.threshold)
