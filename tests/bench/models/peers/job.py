"""What a competitor is asked, and how it answers. Needs pandas and numpy only.

`job.json` names the files and the limits (`Job`). The answer lies in `Job.out`: `predictions.npz` (`classes`:
the labels as text, empty for a regression; `values`: (rows, classes) probabilities or (rows,) numbers) and
`answer.json` (`Answer`).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

PREDICT_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Job:
    """`task`, `metric` and `dates` as in `tables.Table`; `budget`: seconds that the fit is told to take;
    `cores`: how many the process may use; `folder`: what the fit may write into; `out`: for the answer."""

    train: str
    test: str
    target: str
    task: str
    metric: str
    dates: list[str]
    budget: float
    seed: int
    cores: int
    out: str

    @property
    def classifies(self) -> bool:
        return self.task != "regression"

    @property
    def folder(self) -> Path:
        return Path(self.out) / "model"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`seconds`: what the fit took; `size_bytes`: the model as saved; `note`: what was chosen."""

    seconds: float
    size_bytes: int
    predict_ms_per_row: float
    note: str


class Fitted(Protocol):
    """A model that was fitted. `classes`: in the order of the columns of `predict`, None for a regression."""

    classes: Sequence[object] | None
    note: str

    def save(self, folder: Path) -> None: ...

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """(rows, classes) probabilities, or (rows,) numbers."""
        ...


def read(path: str, job: Job) -> pd.DataFrame:
    return pd.read_csv(path, parse_dates=job.dates)


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def answer(job: Job, fitted: Fitted, seconds: float, test: pd.DataFrame) -> None:
    """Save, predict the test rows (three times, for the clock), and write what `Job.out` is to hold."""
    job.folder.mkdir(parents=True, exist_ok=True)
    fitted.save(job.folder)
    took = []
    for _ in range(PREDICT_ROUNDS):
        began = time.perf_counter()
        values = fitted.predict(test)
        took.append(time.perf_counter() - began)
    classes = [] if fitted.classes is None else [str(label) for label in fitted.classes]
    np.savez(
        Path(job.out) / "predictions.npz",
        classes=np.array(classes, dtype=str),
        values=np.asarray(values, float),
    )
    said = Answer(
        seconds=seconds,
        size_bytes=size_bytes(job.folder),
        predict_ms_per_row=1000 * statistics.median(took) / max(1, len(test)),
        note=fitted.note,
    )
    (Path(job.out) / "answer.json").write_text(json.dumps(asdict(said)))


def asked() -> Job:
    """The job named on the command line."""
    return Job(**json.loads(Path(sys.argv[1]).read_text()))


def main(fit: Callable[[Job, pd.DataFrame, pd.Series], Fitted]) -> None:
    """Do the job that is asked. Reading the tables and importing libraries is not timed."""
    job = asked()
    try:
        train, test = read(job.train, job), read(job.test, job)
        y = train.pop(job.target)
        began = time.perf_counter()
        fitted = fit(job, train, y)
        answer(job, fitted, time.perf_counter() - began, test)
    except Exception as error:  # noqa: BLE001 whatever a library fails with is its result
        traceback.print_exc()
        (Path(job.out) / "failed.txt").write_text(f"{type(error).__name__}: {error}")
        sys.exit(1)
