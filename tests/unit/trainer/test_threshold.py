from __future__ import annotations

import numpy as np
import pytest

from services.trainer import threshold

LABELS = np.array(["no", "yes"], dtype=object)


def uneven(rows: int = 4_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One in fifteen is "yes", and the probabilities are honest: few are over a half."""
    rng = np.random.default_rng(seed)
    second = rng.beta(0.3, 4.0, rows)
    return LABELS[(rng.random(rows) < second).astype(int)], second


@pytest.mark.parametrize("metric", sorted(threshold.TUNED))
def test_uneven_classes_are_told_apart_better_than_by_a_half(metric: str) -> None:
    truth, second = uneven()
    chosen = threshold.best(metric, truth, second, LABELS)
    unseen, of_unseen = uneven(seed=1)
    found = threshold.at(metric, unseen, of_unseen, LABELS, chosen)
    usual = threshold.at(metric, unseen, of_unseen, LABELS, 0.5)
    assert found >= usual if metric == "f1_weighted" else found > usual + 0.02
    assert 0 < chosen < 0.5


def test_where_nothing_is_better_it_stays_a_half() -> None:
    truth = LABELS[np.arange(100) % 2]
    assert threshold.best("f1_macro", truth, np.where(truth == "yes", 0.9, 0.1), LABELS) == 0.5
    assert threshold.best("f1_macro", truth, np.full(100, 0.3), LABELS) == 0.5


def test_a_fold_is_judged_by_what_the_others_ask_for() -> None:
    truth, second = uneven(400)
    fold = np.arange(400) % 4
    crossed = threshold.crossed("balanced_accuracy", truth, second, fold, LABELS)
    assert len(crossed) == 4
    others = fold != 2
    assert crossed[2] == threshold.best("balanced_accuracy", truth[others], second[others], LABELS)
    spoiled = second.copy()
    spoiled[fold == 2] = 1.0
    assert threshold.crossed("balanced_accuracy", truth, spoiled, fold, LABELS)[2] == crossed[2]


@pytest.mark.parametrize(
    ("metric", "labels", "asked"),
    [
        ("f1_macro", LABELS, True),
        ("accuracy", LABELS, False),
        ("roc_auc", LABELS, False),
        ("f1_macro", np.array(["a", "b", "c"]), False),
        ("rmse", None, False),
    ],
)
def test_only_two_classes_and_metrics_of_answers_are_tuned_for(
    metric: str, labels: np.ndarray | None, asked: bool
) -> None:
    assert threshold.tuned(metric, labels) is asked
