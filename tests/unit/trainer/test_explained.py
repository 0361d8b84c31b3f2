"""What a fit tells of a model beside its scores, from the table to the outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from services.trainer import conformal, explained, fit
from services.trainer.outcome import FitOutcome
from shared.contracts.states import PlotKind, TaskType
from tests.unit.trainer import mixed_table

OF_CLASSES = {"confusion_matrix", "roc_curve", "precision_recall_curve", "calibration_curve", "lift_curve"}
OF_NUMBERS = {"prediction_error", "residuals"}


def run(
    task_type: TaskType, folder: Path, best_so_far: float | None, *, seconds: float = 600.0
) -> FitOutcome:
    table = mixed_table.features(300)
    of_classes = task_type is TaskType.CLASSIFICATION
    target = mixed_table.classes(table, "words") if of_classes else 10 + mixed_table.signal(table)
    table = table.assign(target=target)
    plan = mixed_table.plan(table, "target", task_type)
    path = mixed_table.write(table, folder / "table.arrow")
    slug = "logistic_regression" if of_classes else "ridge"
    return fit.fit(path, plan, slug, folder, seconds, 1, lambda share, words: None, best_so_far)


def kinds(outcome: FitOutcome) -> set[str]:
    assert len({plot.kind for plot in outcome.plots}) == len(outcome.plots)
    assert all(isinstance(plot.kind, PlotKind) and plot.svg for plot in outcome.plots)
    return {plot.kind for plot in outcome.plots}


def test_a_regression_has_intervals_and_the_leader_a_learning_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # however busy the machine
    monkeypatch.setattr(explained, "LEARNING_S", 600.0)
    outcome = run(TaskType.REGRESSION, tmp_path, None)
    assert kinds(outcome) == OF_NUMBERS | {"importance", "learning_curve"}
    assert outcome.uncertainty is not None
    assert outcome.uncertainty.low < outcome.cv_mean < outcome.uncertainty.high
    assert outcome.uncertainty.rows == outcome.details["rows_train"]
    assert outcome.intervals is not None
    assert list(outcome.intervals.coverage) == list(conformal.LEVELS)
    assert outcome.intervals.coverage["95"] > 0.85
    curve = next(plot for plot in outcome.plots if plot.kind == "learning_curve")
    assert curve.data["rows"] == sorted(curve.data["rows"])
    # the whole is what was validated
    assert curve.data["validation"]["mean"][-1] == pytest.approx(outcome.cv_mean, abs=0.05)
    error = next(plot for plot in outcome.plots if plot.kind == "prediction_error")
    assert error.data["intervals"]["coverage"] == pytest.approx(outcome.intervals.coverage, rel=1e-5)
    shown = next(plot for plot in outcome.plots if plot.kind == "importance").data["columns"]
    assert [column["feature"] for column in shown] == [loss.feature for loss in outcome.importance]


def test_a_model_that_cannot_be_the_best_has_no_learning_curve(tmp_path: Path) -> None:
    outcome = run(TaskType.CLASSIFICATION, tmp_path, 1.01)
    assert kinds(outcome) == OF_CLASSES | {"importance"}
    assert outcome.intervals is None
    assert outcome.uncertainty is not None
    assert 0 <= outcome.uncertainty.held_out_low <= outcome.metrics["accuracy"]


def test_without_time_the_score_is_sure_or_not_and_nothing_is_drawn(tmp_path: Path) -> None:
    outcome = run(TaskType.REGRESSION, tmp_path, None, seconds=0.0)
    assert outcome.plots == []
    assert outcome.importance == []
    assert outcome.uncertainty is not None
    assert outcome.intervals is not None


def test_rows_of_a_group_make_a_score_less_sure(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    house = np.repeat(np.arange(60), 5)
    table = pd.DataFrame({"size": rng.normal(size=300), "house": [f"h{i}" for i in house]})
    table["target"] = table["size"] + rng.normal(size=60)[house]
    path = mixed_table.write(table, tmp_path / "table.arrow")
    widths = []
    for group in ("house", None):
        plan = mixed_table.plan(
            table, "target", TaskType.REGRESSION, roles={"size": "numeric"}, group_column=group
        )
        outcome = fit.fit(path, plan, "ridge", tmp_path, 600.0, 1, lambda share, words: None, 2.0)
        assert outcome.uncertainty is not None
        widths.append(outcome.uncertainty.high - outcome.uncertainty.low)
    assert widths[0] > 1.2 * widths[1]
