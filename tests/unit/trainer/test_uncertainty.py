"""The bootstrap of a score, and what ties."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from services.trainer import evaluate, resampled, uncertainty
from services.trainer.resampled import Answers
from shared.contracts.catalogue import METRICS
from shared.contracts.results import Uncertainty
from shared.contracts.states import TaskType

CLASSES = np.array(["no", "so", "yes"], dtype=object)


def classified(rows: int, sharpness: float = 2.0, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, rows)
    logits = rng.normal(size=(rows, 3))
    logits[np.arange(rows), codes] += sharpness
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Answers(CLASSES[codes], CLASSES[proba.argmax(axis=1)], proba, CLASSES)


def predicted(rows: int, noise: float = 0.5, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    truth = rng.normal(10, 1, rows)
    return Answers(truth, truth + rng.normal(0, noise, rows))


def score(metric: str, answers: Answers) -> float:
    value = evaluate.score(metric, answers.truth, answers.predicted, answers.proba, answers.labels)
    assert value is not None
    return value


def measure(metric: str, answers: Answers, *, seed: int = 0, seconds: float = 30.0) -> Uncertainty | None:
    value, rows = score(metric, answers), np.arange(len(answers.truth))
    return uncertainty.measured(metric, value, value, answers, rows, answers, seed=seed, seconds=seconds)


@pytest.mark.parametrize("metric", list(METRICS[TaskType.CLASSIFICATION]))
def test_every_classification_metric_has_an_interval(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if metric in ("average_precision", "roc_auc"):  # those that take time
        monkeypatch.setattr(uncertainty, "RESAMPLES", 100)
    found = measure(metric, classified(200))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < score(metric, classified(200)) < found.high
    assert (found.low, found.high) == (found.held_out_low, found.held_out_high)


@pytest.mark.parametrize("metric", list(METRICS[TaskType.REGRESSION]))
def test_every_regression_metric_has_an_interval(metric: str) -> None:
    found = measure(metric, predicted(200))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= score(metric, predicted(200)) <= found.high
    assert found.low < found.high


def answers_of(metric: str, rows: int) -> list[Answers]:
    """Ordinary answers, and odd ones: a class that is never answered, ties, zeros, everything alike."""
    if metric in METRICS[TaskType.REGRESSION]:
        usual = predicted(rows)
        zero = Answers(np.where(np.arange(rows) == 0, 0.0, usual.truth), usual.predicted)
        return [usual, zero, Answers(np.ones(rows), usual.predicted), Answers(usual.truth, np.ones(rows))]
    usual = classified(rows)
    coarse = np.round(usual.proba, 1) + 0.01
    coarse /= coarse.sum(axis=1, keepdims=True)
    two = np.where(usual.truth == "no", "no", "yes").astype(object)
    of_two = np.c_[usual.proba[:, 0], 1 - usual.proba[:, 0]]
    labels = np.array(["no", "yes"], dtype=object)
    one = np.full(rows, "no", dtype=object)
    return [
        usual,
        Answers(usual.truth, np.where(usual.predicted == "so", "no", usual.predicted), coarse, CLASSES),
        Answers(two, labels[of_two.argmax(axis=1)], of_two, labels),
        Answers(two, one, of_two, labels),
        Answers(one, two, of_two, labels),
    ]


@pytest.mark.parametrize(
    "metric", [name for kind in TaskType for name in METRICS[kind] if kind != "time_series"]
)
def test_what_is_measured_at_once_is_what_evaluate_has(metric: str) -> None:
    drawn = np.random.default_rng(1).integers(0, 40, (20, 40))
    for answers in answers_of(metric, 40):
        at_once, quick = resampled.statistic(metric, answers)
        assert quick == (metric not in ("average_precision", "roc_auc"))
        expected = resampled._one_by_one(metric, answers)(drawn)
        assert at_once(drawn) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_very_many_classes_are_measured_one_by_one() -> None:
    labels = np.arange(200)
    _, quick = resampled.statistic("f1_macro", Answers(labels, labels, None, labels))
    assert not quick


@pytest.mark.parametrize("rows", [100, 4 * uncertainty.MOST_ROWS])
def test_the_interval_of_an_accuracy_is_as_wide_as_the_binomials(rows: int) -> None:
    right = np.random.default_rng(0).random(rows) < 0.9
    answers = Answers(np.zeros(rows, dtype=int), np.where(right, 0, 1), None, np.array([0, 1]))
    found = measure("accuracy", answers)
    assert found is not None
    assert found.rows == rows
    half = 1.96 * math.sqrt(right.mean() * (1 - right.mean()) / rows)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        found = measure("mae", predicted(120, seed=seed), seed=seed)
        assert found is not None
        held += found.low <= 0.5 * math.sqrt(2 / math.pi) <= found.high
    assert 180 <= held <= 198


def test_rows_in_any_order_and_the_same_seed_give_the_same() -> None:
    answers, rows = predicted(80), np.arange(80) * 3
    order = np.random.default_rng(3).permutation(80)
    mixed = Answers(answers.truth[order], answers.predicted[order])

    def run(given: Answers, positions: np.ndarray, seed: int) -> Uncertainty | None:
        return uncertainty.measured("r2", 0.7, 0.7, given, positions, answers, seed=seed, seconds=30)

    first = run(answers, rows, 0)
    assert first is not None
    assert run(mixed, rows[order], 0) == first
    other = run(answers, rows, 1)
    assert other is not None
    assert other.digest != first.digest
    assert other.deviations != first.deviations
    shifted = run(answers, rows + 1, 0)
    assert shifted is not None
    assert shifted.digest != first.digest
    assert msgspec.json.decode(msgspec.json.encode(first), type=Uncertainty) == first


def test_fewer_resamples_are_the_first_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure("r2", predicted(60))
    monkeypatch.setattr(uncertainty, "RESAMPLES", 130)
    fewer = measure("r2", predicted(60))
    assert whole is not None
    assert fewer is not None
    assert fewer.deviations == whole.deviations[:130]


def test_too_few_rows_or_too_little_time_give_none() -> None:
    assert measure("mae", predicted(uncertainty.LEAST_ROWS - 1)) is None
    assert measure("average_precision", classified(500), seconds=1e-4) is None


def test_an_undefined_score_or_one_that_most_resamples_leave_undefined_has_no_interval() -> None:
    answers = predicted(50)
    found = uncertainty.measured("r2", None, 0.5, answers, np.arange(50), answers, seed=0, seconds=9)
    assert found is not None
    assert (found.low, found.high, found.deviations) == (None, None, [])
    assert found.held_out_low is not None

    # one row of a class: a third of the resamples are without it
    y = np.zeros(40, dtype=int)
    y[0] = 1
    proba = np.c_[np.linspace(0, 1, 40), np.linspace(1, 0, 40)]
    rare = Answers(y, y, proba, np.array([0, 1]))
    assert measure("roc_auc", rare) is None


def test_intervals_stay_where_the_metric_can_be() -> None:
    y = np.zeros(60, dtype=int)
    y[:2] = 1
    found = measure("accuracy", Answers(y, np.zeros(60, dtype=int), None, np.array([0, 1])))
    assert found is not None
    assert found.high == 1.0
    perfect = measure("accuracy", Answers(y, y, None, np.array([0, 1])))
    assert perfect is not None
    assert (perfect.low, perfect.high) == (1.0, 1.0)


def test_rows_of_a_group_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"house {i}" for i in range(40)], 25)
    truth = rng.normal(size=1000)
    # an error that all rows of a house share
    error = np.repeat(rng.normal(0, 1, 40), 25)
    alone = measure("mae", Answers(truth, truth + error))
    together = measure("mae", Answers(truth, truth + error, groups=groups))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 3 * (alone.high - alone.low)
    few = Answers(truth[:100], truth[:100], groups=groups[:100])
    assert measure("mae", few) is None


def test_units_are_drawn_whole() -> None:
    values = np.r_[np.random.default_rng(0).normal(1, 0.2, 50), math.nan]
    found = uncertainty.of_units("mase", 1.0, 1.1, values, values[:20], seed=0)
    assert found is not None
    assert found.rows == 50
    assert found.high - found.low == pytest.approx(2 * 1.96 * values[:50].std() / math.sqrt(50), rel=0.15)
    assert found.held_out_low < 1.1 < found.held_out_high
    # of too few units nothing is told
    assert uncertainty.of_units("mase", 1.0, 1.1, values[:5], values, seed=0) is None
    alone = uncertainty.of_units("mase", 1.0, 1.1, values, values[:5], seed=0)
    assert alone is not None
    assert alone.held_out_low is None
    assert alone.deviations == found.deviations
