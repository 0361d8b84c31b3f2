"""The scores of predictions, whatever form a library gives its labels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.bench.models import scoring


def test_labels_are_the_same_as_numbers_and_as_text() -> None:
    assert scoring.key("1") == scoring.key("1.0") == scoring.key(1) == "1"
    assert scoring.key("setosa") == "setosa"


def test_classes_in_another_order_are_put_right() -> None:
    values = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = scoring.scores("binary", ["yes", "no"], values, ["yes", "no"], ["no", "yes"])
    assert found["roc_auc"] == 1.0
    assert found["accuracy"] == 1.0
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)


def test_a_class_that_the_model_dropped_costs_what_it_costs_in_use() -> None:
    values = np.array([[0.5, 0.5], [0.5, 0.5]])
    found = scoring.scores("multiclass", ["a", "c"], values, ["a", "b"], ["a", "b", "c"])
    assert found["log_loss"] > 15
    assert found["accuracy"] == 0.5


def test_single_precision_probabilities_add_up_to_one_again() -> None:
    values = np.array([[0.3, 0.3, 0.4 + 2e-7]], dtype=np.float32).astype(float)
    assert scoring.aligned(values, ["a", "b", "c"], ["a", "b", "c"]).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([[0.5, 0.5]], ["a", "strange"]),
        ([[float("nan"), 0.5]], ["a", "b"]),
        ([[-0.5, 1.5]], ["a", "b"]),
        ([[0.0, 0.0]], ["a", "b"]),
        ([[0.5, 0.5], [0.5, 0.5]], ["a", "b"]),
    ],
)
def test_what_is_no_prediction_is_not_scored(values: list[list[float]], classes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"it(s)? "):
        scoring.scores("binary", ["a"], np.array(values), classes, ["a", "b"])


def test_regressions_have_r2_and_errors() -> None:
    found = scoring.scores("regression", ["1", "2", "3"], np.array([1.0, 2.0, 5.0]), [], [])
    assert found == pytest.approx({"r2": -1.0, "rmse": math.sqrt(4 / 3), "mae": 2 / 3})
    with pytest.raises(ValueError, match="not all numbers"):
        scoring.scores("regression", ["1"], np.array([np.inf]), [], [])
