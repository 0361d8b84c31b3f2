from __future__ import annotations

import math

import numpy as np
import pytest

from services.trainer import evaluate
from shared.contracts.catalogue import METRICS
from shared.contracts.states import TaskType

TRUTH = np.array(["a", "a", "b", "b"], dtype=object)
GUESS = np.array(["a", "b", "b", "b"], dtype=object)
LABELS = np.array(["a", "b"], dtype=object)
PROBA = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])


def test_every_binary_metric_by_hand() -> None:
    found = evaluate.classification(TRUTH, GUESS, PROBA, LABELS)
    # a: precision 1, recall 1/2, f1 2/3; b: precision 2/3, recall 1, f1 4/5
    expected = {
        "accuracy": 3 / 4,
        "balanced_accuracy": 3 / 4,
        "f1_macro": (2 / 3 + 4 / 5) / 2,
        "f1_weighted": (2 / 3 + 4 / 5) / 2,
        "precision_macro": (1 + 2 / 3) / 2,
        "recall_macro": 3 / 4,
        "roc_auc": 1.0,
        "average_precision": 1.0,
        "log_loss": -(math.log(0.9) + math.log(0.4) + math.log(0.8) + math.log(0.7)) / 4,
        "matthews_corrcoef": (1 * 2 - 0 * 1) / math.sqrt(1 * 3 * 2 * 2),
        "brier": (0.1**2 + 0.6**2 + 0.2**2 + 0.3**2) / 4,
    }
    assert list(found) == list(METRICS[TaskType.CLASSIFICATION])
    assert found == pytest.approx(expected)


def test_multiclass_curves_are_macro_means_over_one_against_the_rest() -> None:
    labels = np.array([1, 2, 3])
    truth = np.array([1, 2, 3, 1])
    proba = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.45, 0.35, 0.2]])
    found = evaluate.classification(truth, labels[proba.argmax(axis=1)], proba, labels)
    # class 1 has {0.6, 0.45} against {0.5, 0.1}: 3 of 4 pairs in order; 2 and 3 are in order throughout
    assert found["roc_auc"] == pytest.approx((3 / 4 + 1 + 1) / 3)
    # class 1's positives are 1st and 3rd: 1/2 · 1 + 1/2 · 2/3
    assert found["average_precision"] == pytest.approx((1 / 2 + 1 / 3 + 1 + 1) / 3)
    by_row = [0.4**2 + 0.3**2 + 0.1**2, 0.5**2 + 0.6**2 + 0.1**2]
    by_row += [0.1**2 + 0.2**2 + 0.3**2, 0.55**2 + 0.35**2 + 0.2**2]
    assert found["brier"] == pytest.approx(sum(by_row) / 4)


def test_undefined_metrics_are_none_and_never_nan() -> None:
    absent = evaluate.classification(TRUTH[:2], GUESS[:2], PROBA[:2], LABELS)
    assert {name for name, value in absent.items() if value is None} == {
        "roc_auc",
        "average_precision",
        "matthews_corrcoef",
    }
    three = np.array(["a", "b", "c"], dtype=object)
    wide = evaluate.aligned(PROBA, LABELS, three)
    rare = evaluate.classification(TRUTH, GUESS, wide, three)
    assert rare["roc_auc"] is None
    assert rare["average_precision"] is None
    assert rare["log_loss"] is not None


def test_a_class_given_no_probability_has_a_finite_log_loss() -> None:
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    value = evaluate.score("log_loss", TRUTH[1:3], GUESS[1:3], certain, LABELS)
    assert value is not None
    assert 10 < value < 100


def test_probabilities_are_spread_to_all_labels_in_their_order() -> None:
    labels = np.array(["a", "b", "c"], dtype=object)
    spread = evaluate.aligned(np.array([[0.3, 0.7]]), np.array(["a", "c"], dtype=object), labels)
    assert spread.tolist() == [[0.3, 0.0, 0.7]]
    assert evaluate.aligned(PROBA, LABELS, LABELS) is PROBA


def test_every_regression_metric_by_hand() -> None:
    truth, guess = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    found = evaluate.regression(truth, guess)
    around_mean = sum((value - 7 / 3) ** 2 for value in truth)
    errors = truth - guess
    expected = {
        "r2": 1 - 5 / around_mean,
        "rmse": math.sqrt(5 / 3),
        "mae": 1.0,
        "mape": (0 + 1 / 2 + 2 / 4) / 3,
        "median_absolute_error": 1.0,
        "max_error": 2.0,
        "explained_variance": 1 - errors.var() / truth.var(),
    }
    assert list(found) == list(METRICS[TaskType.REGRESSION])
    assert found == pytest.approx(expected)


def test_regression_metrics_without_a_meaning_are_none() -> None:
    constant = evaluate.regression(np.array([2.0, 2.0]), np.array([2.0, 1.0]))
    assert constant["r2"] is None
    assert constant["explained_variance"] is None
    assert constant["mae"] == 0.5
    assert evaluate.regression(np.array([0.0, 1.0]), np.array([1.0, 1.0]))["mape"] is None
    assert evaluate.regression(np.array([1.0]), np.array([2.0]))["r2"] is None
    assert set(evaluate.regression(np.array([1.0, 2.0]), np.array([np.inf, 1.0])).values()) == {None}
    assert set(evaluate.regression(np.array([]), np.array([])).values()) == {None}


def test_metrics_of_the_other_task_type_are_refused() -> None:
    with pytest.raises(KeyError):
        evaluate.score("r2", TRUTH, GUESS, PROBA, LABELS)
    with pytest.raises(KeyError):
        evaluate.score("accuracy", np.array([1.0]), np.array([1.0]))
