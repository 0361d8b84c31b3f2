"""`python held.py pickle|autogluon MODEL ROWS.json`: hold a model, and answer one row a time.

Needs pandas and what the model is made of, and nothing of this project: it runs in other environments.
A line on standard input, a number, asks for so many rows in turn; the answer is a JSON list of seconds.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

Predict = Callable[[pd.DataFrame], Any]


def pickled(path: str) -> Predict:
    model = joblib.load(path)
    predict: Predict = model.predict_proba
    return predict


def autogluon(path: str) -> Predict:
    """Persisted: all that the best model needs is in memory."""
    from autogluon.tabular import TabularPredictor

    predictor = TabularPredictor.load(path, verbosity=0)
    predictor.persist()
    predict: Predict = predictor.predict_proba
    return predict


def main(kind: str, model: str, rows: str) -> None:
    warnings.simplefilter("ignore")
    predict = {"pickle": pickled, "autogluon": autogluon}[kind](model)
    turns = itertools.cycle(json.loads(Path(rows).read_text()))
    print("ready", flush=True)
    for line in sys.stdin:
        took = []
        for row in itertools.islice(turns, int(line)):
            began = time.perf_counter()
            predict(pd.DataFrame([row]))
            took.append(time.perf_counter() - began)
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
