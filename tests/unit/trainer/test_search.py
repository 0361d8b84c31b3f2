from __future__ import annotations

import math
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import FixedThresholdClassifier

from services.trainer import candidates, fit, pacing, prepare, search, split, table_rows, validation
from services.trainer.budget import Clock
from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings, boosting
from services.trainer.outcome import MODEL_FILE
from services.trainer.predictions import PREDICTIONS_FILE
from services.trainer.table_rows import Rows
from shared.contracts.catalogue import MODELS
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from tests.unit.trainer import mixed_table

C, R = TaskType.CLASSIFICATION, TaskType.REGRESSION


def numbers(rows: int, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, 4)), columns=list("abcd"))


def candidate(
    slug: str, task_type: TaskType, features: pd.DataFrame, y: np.ndarray, **changes: object
) -> Candidate:
    roles = dict.fromkeys(features.columns, "numeric")
    plan = mixed_table.plan(
        features.assign(target=y), "target", task_type, roles=roles, **{"cv_folds": 3, **changes}
    )
    train, test = split.holdout(y, None, task_type, plan.test_size, plan.seed)
    labels = np.unique(y) if task_type is C else None
    rows = Rows(features, y, None, train, test, labels)
    return Candidate(plan, slug, rows, prepare.survey(features, roles), 1, len(y))


def validated(given: Candidate, settings: Settings | None = None) -> validation.Validated:
    parts = validation.Parts(given, table_rows.folds(given.rows, given.plan))
    return validation.validate(given, parts, settings or Settings(), Clock(600), 2.0, 60.0, lambda _: None)


def curve_of(rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    table = numbers(rows)
    noise = np.random.default_rng(1).normal(size=rows)
    return table, (table["a"] * 2 + table["b"] ** 2 + noise).to_numpy()


def skewed(rows: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    table, y = curve_of(rows)
    return table, np.exp(y)


@pytest.mark.parametrize("slug", sorted(boosting.LIBRARIES))
@pytest.mark.parametrize("task_type", [C, R])
def test_boosters_stop_where_the_rows_they_have_not_seen_say(slug: str, task_type: TaskType) -> None:
    table, y = curve_of()
    target = np.where(y > 1.0, "high", "low").astype(object) if task_type is C else y * 1e3 + 1e6
    given = candidate(slug, task_type, table, target, metric="log_loss" if task_type is C else "rmse")
    found = validated(given)
    assert found.rounds is not None
    assert boosting.FEWEST_ROUNDS <= found.rounds < 250
    assert sorted(found.train) == sorted(given.rows.train)
    assert found.oof.shape == (len(given.rows.train), 2 if task_type is C else 1)
    assert [int((found.fold == number).sum()) for number in range(3)] == [80, 80, 80]
    # what was found is what is fitted, by the library's own plain estimator
    given.settings = found.settings(Settings())
    model = given.fitted(given.rows.train)
    again = given.score(target[given.rows.test], given.answers(model, table.iloc[given.rows.test]))
    assert again == pytest.approx(np.mean(found.scores), rel=0.5)


@pytest.mark.parametrize("slug", sorted(boosting.LIBRARIES))
def test_as_many_rounds_answer_as_are_asked_for(slug: str) -> None:
    table, y = curve_of(200)
    given = candidate(slug, R, table, y, metric="rmse")
    part = validated_part(given)
    made = validation.attempt(given, part, Settings(), math.inf)
    model = candidates.build(slug, R, candidates_situation(given, part, 7)).steps[-1][1]
    fitted = model.fit(part.x_learn, y[part.learn])
    np.testing.assert_allclose(
        made.answers(given, 7)[:, 0], np.asarray(fitted.predict(part.x_held)), rtol=1e-4
    )


def validated_part(given: Candidate) -> validation.Part:
    return validation.Parts(given, table_rows.folds(given.rows, given.plan))[0]


def candidates_situation(given: Candidate, part: validation.Part, rounds: int) -> candidates.Situation:
    given.settings = Settings(effort=rounds)
    return given.situation(part.learn)


def test_the_rounds_of_a_fold_are_those_that_the_others_ask_for() -> None:
    falling = np.array([3.0, 2.0, 1.0, 2.0])
    longer = np.array([3.0, 2.5, 2.0, 1.5, 1.0, 1.5])
    odd = np.array([1.0, 2.0, 3.0, 4.0])
    assert boosting.rounds_of([np.r_[np.ones(6), 0.5, 1.0]]) == 7
    assert boosting.rounds_of([np.r_[9.0, 8, 7, 6, 5, falling], np.r_[9.0, 8, 7, 6, 5, longer]]) == 8
    # the end of the longest alone is not what all ask for
    short = np.r_[np.linspace(2, 1, 10), 1.1, 1.2]
    long = np.linspace(2, 1.9, 400)
    assert boosting.rounds_of([short, short, long]) == 10
    assert boosting.rounds_of([odd]) == 4 == boosting.rounds_of([odd, odd])
    assert boosting.rounds_of([np.full(3, np.nan)]) == 1


def test_a_booster_ends_when_its_time_does() -> None:
    table, y = curve_of(400)
    for slug in set(boosting.LIBRARIES) - {"hist_gradient_boosting"}:
        given = candidate(slug, R, table, y, metric="rmse")
        made = validation.attempt(given, validated_part(given), Settings(), time.monotonic() - 1)
        assert made.curve is not None
        assert boosting.FEWEST_ROUNDS <= len(made.curve) <= boosting.FEWEST_ROUNDS + 2


def test_effort_is_what_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 ms a tree: 100 in a second, and no limit where there is time for all."""
    table, y = curve_of(300)
    given = candidate("random_forest", R, table, y)
    part = validated_part(given)
    assert pacing.most_effort(given, part, 0.001) == math.inf  # a small table is not probed
    monkeypatch.setattr(pacing, "PROBE_ABOVE_ROWS", 10)
    monkeypatch.setattr(pacing, "_seconds", lambda _candidate, _part, effort: 0.01 * effort)
    assert pacing.most_effort(given, part, 1.0) == pytest.approx(100)
    assert pacing.most_effort(given, part, 0.0) == 0
    assert pacing.most_effort(given, part, 60.0) == math.inf
    given.settings = Settings(most_effort=12)
    assert given.fitted(given.rows.train)["model"].n_estimators == 12


def test_rows_are_given_up_only_where_all_of_them_leave_too_few_trees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, y = curve_of(6_000)
    for fitting, rows, trees in (
        (8.0, 1_600, 16),
        (64.0, 6_000, 64),
        (0.0, 500, 16),
        (math.inf, 6_000, None),
    ):
        given = candidate("random_forest", R, table, y)
        monkeypatch.setattr(fit, "FEWEST_ROWS", 500)
        monkeypatch.setattr(pacing, "most_effort", lambda *_, fitting=fitting: fitting)
        parts = validation.Parts(given, table_rows.folds(given.rows, given.plan))
        notices: list[Notice] = []
        parts = fit._limit_effort(given, parts, 1.0, notices)
        assert given.row_limit == rows
        assert given.settings.most_effort == trees
        assert len(parts[0].learn) == min(rows, 3_200)
        said = ["rows-sampled"] * (rows < 6_000) + ["effort-limited"] * (trees is not None)
        assert [notice.code for notice in notices] == said


def test_every_elastic_family_is_probed_on_the_rows_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PROBE_ABOVE_ROWS", 10)
    table, y = curve_of(150)
    for slug in pacing.PROBES:
        if slug in MODELS[R]:
            given = candidate(slug, R, table, y)
            most = pacing.most_effort(given, validated_part(given), 0.0)
            assert most == 0


def test_a_skewed_target_is_learnt_on_its_logarithm_where_that_is_better(tmp_path: Path) -> None:
    table, y = skewed()
    plan = mixed_table.plan(
        table.assign(target=y), "target", R, roles=dict.fromkeys(table, "numeric"), metric="mae", cv_folds=3
    )
    path = mixed_table.write(table.assign(target=y), tmp_path / "table.arrow")
    outcome = fit.fit(path, plan, "ridge", tmp_path, 120.0, 1, lambda *_: None)
    assert outcome.details["target"] == "log"
    model = joblib.load(tmp_path / MODEL_FILE)
    assert isinstance(model["model"], TransformedTargetRegressor)
    # a row far outside is not answered by an exponential that goes on for ever
    assert model.predict(table.head(1) * 1e4).max() < y.max() * 100
    assert candidate("ridge", R, table, y, metric="mae").greater_is_better is False


@pytest.mark.parametrize(
    ("target", "shapes"),
    [
        (lambda y: np.exp(y), ["plain", "log"]),
        (lambda y: np.maximum(np.exp(y) - 1, 0), ["plain", "log1p"]),
        (lambda y: y, ["plain"]),
        (lambda y: -np.exp(y), ["plain"]),
        (lambda y: np.ones(len(y)), ["plain"]),
    ],
)
def test_shapes_are_tried_where_the_target_asks_for_them(target: object, shapes: list[str]) -> None:
    table, y = curve_of()
    assert callable(target)
    assert search.shapes(candidate("ridge", R, table, target(y))) == shapes


def test_a_search_finds_what_the_default_has_not_and_leaves_the_folds_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(search.SPACES, "k_nearest_neighbors", {"n_neighbors": IntDistribution(1, 40)})
    table = numbers(1_000)
    y = (table["a"] + np.random.default_rng(1).normal(0, 3, 1_000) > 0).to_numpy()
    given = candidate("k_nearest_neighbors", C, table, y, metric="log_loss")
    folds = {tuple(held) for _, held in table_rows.folds(given.rows, given.plan)}
    on = search.parts(given)
    assert not folds & {tuple(on[number].held) for number in range(len(on))}
    assert {row for number in range(len(on)) for row in on[number].held} == set(given.rows.train)
    first, second = (search.search(given, math.inf, 1.0, lambda _: None) for _ in range(2))
    assert first == second
    assert first.best is not None
    assert first.best.knobs["n_neighbors"] > 15
    assert np.mean(validated(given, first.best).scores) < np.mean(validated(given).scores)


def test_a_search_ends_with_its_time_its_trials_or_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    table, y = curve_of()
    given = candidate("k_nearest_neighbors", R, table, y, metric="rmse")
    late = search.search(given, time.monotonic() - 1, 1.0, lambda _: None)
    assert (late.trials, late.stopped, late.best) == (1, "time", None)
    monkeypatch.setattr(search, "PATIENCE", 2)
    assert search.search(given, math.inf, 1.0, lambda _: None).stopped == "patience"
    monkeypatch.setattr(search, "MOST_TRIALS", 3)
    monkeypatch.setattr(search, "PATIENCE", 9)
    heard: list[int] = []
    assert search.search(given, math.inf, 1.0, heard.append).stopped == "trials"
    assert heard == [0, 1, 2]


def test_what_is_searched_is_what_the_builders_ask_for() -> None:
    """A knob that no builder reads would be searched for nothing."""
    table, y = curve_of(1_000)
    for task_type, target in ((C, np.where(y > 1, "a", "b").astype(object)), (R, y)):
        for slug, space in search.SPACES.items():
            given = candidate(slug, task_type, table, target)
            assert slug in MODELS[task_type]
            for name, way in space.items():
                value = way.choices[-1] if isinstance(way, CategoricalDistribution) else way.high
                given.settings = Settings(knobs={name: value})
                model = given.unfitted(given.rows.train)["model"]
                inner = search._estimators(model)[-1]
                assert inner.get_params()[name] == value, (slug, name)


@pytest.mark.parametrize("slug", ["lightgbm", "naive_bayes"])
def test_a_tuned_threshold_is_handed_over_and_probabilities_stay(slug: str, tmp_path: Path) -> None:
    table = numbers(900)
    chance = 1 / (1 + np.exp(3.0 - table["a"] - table["b"]))
    y = np.where(np.random.default_rng(2).random(900) < chance, "yes", "no").astype(object)
    plan = mixed_table.plan(
        table.assign(target=y),
        "target",
        C,
        roles=dict.fromkeys(table, "numeric"),
        metric="balanced_accuracy",
        cv_folds=3,
    )
    path = mixed_table.write(table.assign(target=y), tmp_path / "table.arrow")
    outcome = fit.fit(path, plan, slug, tmp_path, 5.0, 1, lambda *_: None)
    assert outcome.details["threshold"] < 0.5
    model = joblib.load(tmp_path / MODEL_FILE)
    assert isinstance(model["model"], FixedThresholdClassifier)
    second = model.predict_proba(table)[:, 1]
    np.testing.assert_array_equal(
        model.predict(table), np.where(second >= outcome.details["threshold"], "yes", "no")
    )
    # as calibrated as without it: a half of the threshold's "yes" would not be
    assert second.mean() == pytest.approx((y == "yes").mean(), abs=0.05)
    with np.load(tmp_path / PREDICTIONS_FILE, allow_pickle=False) as kept:
        assert kept["test"].shape == (180, 2)
        assert len(kept["train"]) == len(kept["oof"]) == 720
        assert set(kept["fold"].tolist()) == {0, 1, 2}
    assert outcome.metrics["balanced_accuracy"] is not None
    assert outcome.metrics["balanced_accuracy"] > 0.6


def test_an_extremely_rare_class_is_learnt() -> None:
    """Some four in a thousand, of which a booster with its library's defaults makes nothing."""
    rng = np.random.default_rng(0)
    table = numbers(6_000)
    rare = (table["a"] + table["b"] + rng.normal(0, 0.2, 6_000) > 3.9).to_numpy()
    assert 12 <= rare.sum() <= 40
    given = candidate("lightgbm", C, table, rare, metric="average_precision")
    found = validated(given)
    given.settings = found.settings(Settings())
    answers = given.answers(given.fitted(given.rows.train), table.iloc[given.rows.test])
    assert np.isfinite(answers).all()
    score = given.score(rare[given.rows.test], answers)
    assert score is not None
    assert score > 0.3
