"""Whether a graph answers what the pickle answers, on rows that were held out of the scored fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from onnxruntime import InferenceSession
from sklearn.base import is_classifier

from services.trainer.onnx_model import cleaning
from services.trainer.onnx_model.build import Built, margin
from shared.contracts.downloads import Parity
from shared.errors import NotConvertible

MOST_ROWS = 2_000
PROBABILITY = 1e-3
"""How far a probability may be off: a graph computes with float32 what the pickle does with float64."""
SPREAD = 1e-3
"""How far a prediction may be off, in standard deviations of the pickle's predictions."""


def compare(model: Any, built: Built, content: bytes, rows: pd.DataFrame) -> Parity:
    """`content`: the file; `rows`: raw ones. Raises NotConvertible where they differ by more than is
    tolerable, or where there is nothing to compare."""
    rows = rows.head(MOST_ROWS)
    if rows.empty:
        raise NotConvertible("there are no held-out rows to compare its predictions on")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
        answers = session.run(None, cleaning.feeds(built.blocks, rows))
    except Exception as error:  # whatever ONNX Runtime cannot run is no file to hand over
        raise NotConvertible(f"ONNX Runtime cannot run it: {' '.join(str(error).split())[:300]}") from error
    parity = _classes(model, answers, rows) if is_classifier(model) else _numbers(model, answers, rows)
    if not parity.max_abs_difference <= parity.tolerance:
        raise NotConvertible(
            f"as ONNX it predicts something else: on {parity.rows:,} held-out rows {parity.compared} are "
            f"up to {parity.max_abs_difference:.3g} off, and {parity.tolerance:.3g} is tolerated"
        )
    return parity


def _classes(model: Any, answers: list[Any], rows: pd.DataFrame) -> Parity:
    labels, answered = np.asarray(answers[0]), np.asarray(answers[1], dtype=np.float64)
    expected = np.asarray(model.predict_proba(rows), dtype=np.float64)
    same = labels.reshape(-1) == np.asarray(model.predict(rows))
    # where two classes are as likely as each other, or one as its threshold, either may be answered
    tied = margin(model, expected) <= 2 * PROBABILITY
    if labels.shape != same.shape or not (same | tied).all():
        raise NotConvertible(
            f"as ONNX it answers other labels in {int((~same & ~tied).sum()):,} of {len(rows):,} "
            "held-out rows"
        )
    return Parity(
        rows=len(rows),
        compared="probabilities",
        max_abs_difference=float(np.abs(answered - expected).max()),
        tolerance=PROBABILITY,
        equal_labels=float(same.mean()),
    )


def _numbers(model: Any, answers: list[Any], rows: pd.DataFrame) -> Parity:
    expected = np.asarray(model.predict(rows), dtype=np.float64)
    answered = np.asarray(answers[0], dtype=np.float64)
    spread = float(expected.std())
    return Parity(
        rows=len(rows),
        compared="predictions",
        max_abs_difference=float(np.abs(answered - expected).max()),
        # of a model that always answers the same, as much as float32 holds
        tolerance=SPREAD * spread if spread > 0 else 1e-6 * max(1.0, float(np.abs(expected).max())),
    )
