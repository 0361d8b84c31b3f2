"""H2O AutoML with its defaults and the time budget, on a server of its own on this machine (needs Java)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2o
import numpy as np
import pandas as pd
from h2o.automl import H2OAutoML

from tests.bench.models.peers.job import Job, asked, main

MEMORY = "6G"
SORT_BY = {"roc_auc": "AUC", "log_loss": "logloss", "r2": "RMSE"}


@dataclass
class Leader:
    model: Any
    kinds: dict[str, str]
    classes: Sequence[object] | None
    note: str

    def save(self, folder: Path) -> None:
        h2o.save_model(self.model, path=str(folder), force=True)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        table = self.model.predict(frame(features, self.kinds)).as_data_frame(use_multi_thread=True)
        return (table["predict"] if self.classes is None else table.drop(columns="predict")).to_numpy()


def kinds_of(train: Any) -> dict[str, str]:
    """The types that H2O saw in the training rows, for the test rows to have the same."""
    return {name: "numeric" if kind in ("int", "real") else kind for name, kind in train.types.items()}


def frame(features: pd.DataFrame, kinds: dict[str, str]) -> Any:
    known = {name: kind for name, kind in kinds.items() if name in features}
    return h2o.H2OFrame(features, column_types=known)


def free_port() -> int:
    """H2O listens on this one and the next."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fit(job: Job, features: pd.DataFrame, y: pd.Series) -> Leader:
    table = features.assign(**{job.target: y.astype(str) if job.classifies else y})
    train = frame(table, {job.target: "enum" if job.classifies else "numeric"})
    automl = H2OAutoML(
        max_runtime_secs=round(job.budget),
        seed=job.seed,
        sort_metric=SORT_BY[job.metric],
        nfolds=5,
        verbosity=None,
    )
    automl.train(x=list(features.columns), y=job.target, training_frame=train)
    if automl.leader is None:
        raise RuntimeError("no model was fitted within the budget")
    classes = automl.leader._model_json["output"]["domains"][-1] if job.classifies else None
    return Leader(automl.leader, kinds_of(train), classes, note=str(automl.leader.algo))


if __name__ == "__main__":
    h2o.init(
        ip="127.0.0.1",
        port=free_port(),
        nthreads=asked().cores,
        max_mem_size=MEMORY,
        bind_to_localhost=True,
        telemetry=False,
    )
    h2o.no_progress()
    try:
        main(fit)
    finally:
        h2o.cluster().shutdown()
