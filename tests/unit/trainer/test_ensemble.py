"""Weights and stacks learnt from predictions, and the estimators made of them."""

from __future__ import annotations

import io
import math
import time
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBClassifier

from services.trainer import ensemble
from services.trainer.ensemble import AVERAGE, STACK, Judge, Learnt
from services.trainer.ensemble_model import assembled
from shared.errors import CannotTrain

LABELS = np.array(["no", "yes"], dtype=object)


def later() -> float:
    return time.monotonic() + 60


def numbers(rows: int = 400, noise: tuple[float, ...] = (1.0, 1.0, 3.0)) -> tuple[Judge, np.ndarray]:
    """Members that see the truth through noise of their own."""
    rng = np.random.default_rng(0)
    y = rng.normal(0, 4, rows)
    told = np.stack([(y + rng.normal(0, sd, rows))[:, None] for sd in noise])
    return Judge("rmse", None, y), told


def classes(rows: int = 600, members: int = 3, metric: str = "accuracy") -> tuple[Judge, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, rows)
    score = truth[None, :] * 1.5 - 0.75 + rng.normal(0, 1, (members, rows))
    second = 1 / (1 + np.exp(-1.5 * score))
    return Judge(metric, LABELS, LABELS[truth]), np.stack([1 - second, second], axis=2)


def test_independent_errors_are_averaged_away() -> None:
    judge, told = numbers()
    found = ensemble.learn(AVERAGE, judge, told, 0, later())
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights[0] == pytest.approx(found.weights[1], abs=0.15) and found.weights[2] < 0.2
    assert judge.score(found.answers(told)) < 0.8 * min(judge.score(each) for each in told)


def test_a_model_that_nothing_improves_on_is_left_alone() -> None:
    judge, told = numbers(noise=(0.1, 5.0, 5.0))
    assert ensemble.learn(AVERAGE, judge, told, 0, later()).weights.tolist() == [1.0, 0.0, 0.0]


def test_of_equals_the_fewest_are_taken() -> None:
    judge, told = classes(members=1)
    same = np.repeat(told, 4, axis=0)
    assert ensemble.learn(AVERAGE, judge, same, 0, later()).weights.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_no_more_members_than_a_download_should_hold() -> None:
    judge, told = numbers(noise=(1.0,) * 12)
    for slug in (AVERAGE, STACK):
        assert 2 <= (ensemble.learn(slug, judge, told, 0, later()).weights > 0).sum() <= ensemble.MOST_MEMBERS


def test_when_time_is_over_the_best_so_far_is_taken() -> None:
    judge, told = numbers()
    assert ensemble.learn(AVERAGE, judge, told, 0, 0.0).weights.max() == 1.0


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc", "precision_macro", "f1_macro"])
def test_every_metric_gains_by_three_that_err_apart(metric: str) -> None:
    judge, told = classes(metric=metric)
    alone = [judge.score(each) for each in told]
    together = judge.score(ensemble.learn(AVERAGE, judge, told, 0, later()).answers(told))
    assert together < min(alone) if metric == "log_loss" else together > max(alone)


def test_a_stack_corrects_what_an_average_cannot() -> None:
    judge, told = numbers(noise=(1.0, 1.0))
    off = told * np.array([0.5, 2.0])[:, None, None] + 3
    stack = ensemble.learn(STACK, judge, off, 0, later())
    average = ensemble.learn(AVERAGE, judge, off, 0, later())
    assert judge.score(stack.answers(off)) < 0.7 * judge.score(average.answers(off))
    assert (stack.meta.coef_ >= 0).all()


def test_a_stack_of_probabilities_answers_probabilities_of_every_class() -> None:
    rng = np.random.default_rng(2)
    labels = np.array([1, 2, 5])
    y = labels[rng.integers(0, 3, 300)]
    told = rng.dirichlet((1, 1, 1), (2, 300)) * 0.5 + 0.5 * (y[:, None] == labels)
    stack = ensemble.learn(STACK, Judge("log_loss", labels, y), told, 0, later())
    answers = stack.answers(told)
    assert answers.shape == (300, 3)
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    # a class that was never validated has a column all the same
    few = ensemble.learn(STACK, Judge("log_loss", labels, np.where(y == 5, 1, y)), told, 0, later())
    assert few.answers(told)[:, 2].max() == 0


@pytest.mark.parametrize("slug", [AVERAGE, STACK])
def test_a_score_owes_nothing_to_its_own_rows(slug: str) -> None:
    """Members of noise alone: on the rows that they are chosen by the best average beats a coin."""
    rng = np.random.default_rng(3)
    rows = 60
    judge = Judge("accuracy", LABELS, LABELS[rng.integers(0, 2, rows)])
    second = rng.random((40, rows))
    told = np.stack([1 - second, second], axis=2)
    fold = np.arange(rows) % 5
    found = ensemble.cross_fitted(slug, judge, told, fold, 0, later())
    chosen = ensemble.learn(slug, judge, told, 0, later())
    own = judge.score(chosen.answers(told), chosen.cut)
    assert own > 0.6 and np.mean(found.scores) < own
    assert len(found.scores) == 5
    changed = judge.y.copy()
    changed[fold == 2] = LABELS[0]
    again = ensemble.cross_fitted(slug, Judge("accuracy", LABELS, changed), told, fold, 0, later())
    np.testing.assert_array_equal(found.answers[fold == 2], again.answers[fold == 2])


@pytest.mark.parametrize("slug", [AVERAGE, STACK])
def test_the_score_told_is_half_way_between_what_flatters_and_what_does_not(slug: str) -> None:
    rng = np.random.default_rng(0)
    judge, told = numbers(120, noise=(1.0, 1.5, 2.0))  # few rows: weights follow their noise
    fold = rng.permutation(120) % 4
    learnt = ensemble.learn(slug, judge, told, 0, later())
    crossed = ensemble.cross_fitted(slug, judge, told, fold, 0, later())
    own = [judge.of(rows).score(learnt.answers(told)[rows]) for rows in (fold == n for n in range(4))]
    assert np.mean(own) < np.mean(crossed.scores)  # of an error
    found = ensemble.fair(judge, told, fold, learnt, crossed)
    assert found == pytest.approx((np.array(own) + crossed.scores) / 2)


def test_rows_of_one_fold_are_scored_together() -> None:
    judge, told = classes()
    found = ensemble.cross_fitted(AVERAGE, judge, told, np.zeros(600, np.int16), 0, later())
    assert len(found.scores) == 1 and found.scores[0] > max(judge.score(each) for each in told)


def test_uneven_classes_get_the_threshold_that_the_metric_asks_for() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random(600) < 0.1).astype(int)
    second = 1 / (1 + np.exp(-(truth * 1.5 - 2.5 + rng.normal(0, 0.7, (3, 600)))))
    judge = Judge("balanced_accuracy", LABELS, LABELS[truth])
    told = np.stack([1 - second, second], axis=2)
    found = ensemble.learn(AVERAGE, judge, told, 0, later())
    assert found.cut is not None and found.cut < 0.3
    fold = np.arange(600) % 2
    crossed = ensemble.cross_fitted(AVERAGE, judge, told, fold, 0, later())
    assert np.mean(crossed.scores) > judge.score(found.answers(told)) + 0.1


# --- as estimators ------------------------------------------------------------------------------


def raw(rows: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    frame.loc[3, "a"] = None
    return frame, LABELS[(np.nan_to_num(frame["a"]) + frame["b"] > 0).astype(int)]


def pipeline(model: Any) -> Pipeline:
    return Pipeline([("columns", ColumnTransformer([("n", SimpleImputer(), ["a", "b"])])), ("model", model)])


def members(frame: pd.DataFrame, y: np.ndarray) -> dict[str, Any]:
    wrapped = VotingClassifier([("xgboost", XGBClassifier(n_estimators=5, n_jobs=1))], voting="soft")
    made = {
        "logistic_regression": LogisticRegression(),
        "lightgbm": LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1),
        "xgboost": wrapped,
    }
    return {slug: pipeline(model).fit(frame, y) for slug, model in made.items()}


def reopened(model: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("slug", [AVERAGE, STACK])
@pytest.mark.parametrize("metric", ["log_loss", "f1_macro"])
def test_the_estimator_answers_what_was_learnt(slug: str, metric: str) -> None:
    frame, y = raw()
    fitted = members(frame, y)
    told = np.stack([member.predict_proba(frame) for member in fitted.values()])
    judge = Judge(metric, LABELS, y)
    learnt = ensemble.learn(slug, judge, told, 0, later())
    if metric == "f1_macro":
        learnt.cut = 0.3
    chosen = {s: m for (s, m), w in zip(fitted.items(), learnt.weights, strict=True) if w > 0}
    model = reopened(assembled(learnt, chosen, frame, LABELS))
    np.testing.assert_allclose(model.predict_proba(frame), learnt.answers(told), atol=1e-6)
    np.testing.assert_array_equal(model.predict(frame), judge.said(learnt.answers(told), learnt.cut))
    assert model.classes_.tolist() == ["no", "yes"]
    one = frame[["b", "a"]].iloc[[3]]
    assert model.predict(one).tolist() == model.predict(frame).tolist()[3:4]


@pytest.mark.parametrize("slug", [AVERAGE, STACK])
def test_numbers_come_out_as_numbers(slug: str) -> None:
    frame, _ = raw()
    y = 3 * frame["b"].to_numpy() + 100
    fitted = {
        "ridge": pipeline(Ridge()).fit(frame, y),
        "tree": pipeline(DecisionTreeRegressor()).fit(frame, y),
    }
    told = np.stack([member.predict(frame)[:, None] for member in fitted.values()])
    told += np.random.default_rng(0).normal(0, 1, told.shape)  # so that both are worth something
    learnt = ensemble.learn(slug, Judge("r2", None, y), told, 0, later())
    assert (learnt.weights > 0).all()
    model = reopened(assembled(learnt, fitted, frame, None))
    straight = np.stack([member.predict(frame)[:, None] for member in fitted.values()])
    np.testing.assert_allclose(model.predict(frame), learnt.answers(straight)[:, 0])
    assert math.isfinite(model.predict(frame.iloc[[3]])[0])


def test_a_member_that_never_saw_a_class_is_refused() -> None:
    frame, y = raw()
    narrow = pipeline(GaussianNB()).fit(frame, np.where(y == "no", "maybe", y))
    with pytest.raises(CannotTrain, match="naive_bayes does not know every class"):
        assembled(Learnt(np.array([1.0])), {"naive_bayes": narrow}, frame, LABELS)
