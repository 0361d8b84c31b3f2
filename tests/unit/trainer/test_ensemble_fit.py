"""From what real fits leave to an ensemble's pickle, as the two steps do it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest

from services.trainer import ensemble_fit, evaluate, fit, predictions, table_rows
from services.trainer.ensemble import AVERAGE, STACK
from services.trainer.outcome import MODEL_FILE, PREDICTIONS_FILE, Choice, FitOutcome, Importance, Member
from services.trainer.predictions import Predictions
from shared.contracts.catalogue import METRICS, MODELS
from shared.contracts.states import TaskType
from shared.contracts.training import Plan
from shared.errors import StorageCorrupt
from tests.unit.trainer import mixed_table
from tests.unit.trainer.test_fit import PREDICT_EXAMPLE

SLUGS = {
    TaskType.CLASSIFICATION: ["logistic_regression", "xgboost", "naive_bayes"],
    TaskType.REGRESSION: ["ridge", "lightgbm", "extra_trees"],
}


KINDS = {
    TaskType.CLASSIFICATION: {
        "confusion_matrix",
        "roc_curve",
        "precision_recall_curve",
        "calibration_curve",
        "lift_curve",
        "learning_curve",
    },
    TaskType.REGRESSION: {"prediction_error", "residuals", "learning_curve"},
}
SCORES = {"scores": [[0.4, 0.5], [0.5, 0.6]], "mean": [0.45, 0.55], "std": [0.05, 0.05]}
CURVE = {
    "metric": "rmse",
    "greater_is_better": False,
    "rows": [50, 100],
    "training": SCORES,
    "validation": SCORES,
}


def quiet(_share: float, _words: str) -> None:
    pass


class Run:
    """Three models of a small table, fitted, and their files where the trainer would put them."""

    def __init__(self, task_type: TaskType, folder: Path, *, refit: bool = True) -> None:
        table = mixed_table.features(200)
        of_classes = task_type is TaskType.CLASSIFICATION
        rng = np.random.default_rng(0)
        target = mixed_table.classes(table, "words") if of_classes else 10 + mixed_table.signal(table)
        if of_classes:  # hard enough that no model is always right
            target = np.where(rng.random(200) < 0.15, rng.permutation(target), target)
        else:
            target = target + rng.normal(0, 1, 200)
        self.table = table.assign(target=target)
        self.plan = mixed_table.plan(self.table, "target", task_type)
        self.plan.metric = "log_loss" if of_classes else "rmse"
        self.plan.refit = refit
        self.folder = folder
        self.path = mixed_table.write(self.table, folder / "table.arrow")
        self.outcomes: dict[str, FitOutcome] = {}
        self.members = [self.member(slug) for slug in SLUGS[task_type]]

    def member(self, slug: str) -> Member:
        scratch = self.folder / slug
        scratch.mkdir()
        outcome = fit.fit(self.path, self.plan, slug, scratch, 1.0, 1, quiet)
        self.outcomes[slug] = outcome
        assert outcome.cv_mean is not None
        return Member(
            slug=slug,
            label=MODELS[self.plan.task_type][slug].label,
            predictions=scratch / PREDICTIONS_FILE,
            model=scratch / MODEL_FILE,
            sha256=hashlib.sha256((scratch / MODEL_FILE).read_bytes()).hexdigest(),
            cv_mean=outcome.cv_mean,
            fit_seconds=outcome.fit_seconds,
            refit=bool(outcome.details["refit"]),
            packages=outcome.packages,
            importance=outcome.importance,
        )

    def combine(self, slug: str, choice: Choice) -> FitOutcome:
        """Of whatever members a test wants, however little they would gain."""
        return ensemble_fit.combine(
            self.path, self.plan, slug, self.members, choice, self.folder, 20.0, 1, quiet
        )


def two_of(run: Run) -> Choice:
    return Choice(weights={run.members[0].slug: 0.4, run.members[1].slug: 0.6})


@pytest.fixture(scope="module", params=list(SLUGS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    # not refitted: the pickles' own answers are then those that the scores are made of
    return Run(request.param, tmp_path_factory.mktemp("run"), refit=False)


@pytest.mark.parametrize("slug", [AVERAGE, STACK])
def test_an_ensemble_is_chosen_scored_and_written(run: Run, slug: str, tmp_path: Path) -> None:
    choice = two_of(run)
    for member, curve in zip(run.members, (None, CURVE, None), strict=True):
        member.learning_curve = curve
    outcome = run.combine(slug, choice)

    metrics = METRICS[run.plan.task_type]
    assert list(outcome.metrics) == list(metrics) and None not in outcome.metrics.values()
    assert outcome.cv_mean is not None and outcome.cv_std is not None
    assert outcome.details["members"].keys() == choice.weights.keys()
    assert outcome.details["refit"] is False
    assert outcome.uncertainty is not None and outcome.uncertainty.rows == outcome.details["rows_validated"]
    assert (outcome.intervals is None) == (run.plan.task_type is TaskType.CLASSIFICATION)
    assert {plot.model_name for plot in outcome.plots} == {slug}
    # what a model has, and of what only fits on rows have the best member's
    assert KINDS[run.plan.task_type] <= {plot.kind for plot in outcome.plots}
    [drawn] = [plot for plot in outcome.plots if plot.kind == "learning_curve"]
    assert drawn.data == CURVE | {"member": run.members[1].label}
    chosen = [member for member in run.members if member.slug in choice.weights]
    assert outcome.fit_seconds > sum(member.fit_seconds for member in chosen)
    assert set(outcome.packages) == {name for member in chosen for name in member.packages}
    features = {each.feature for member in chosen for each in member.importance}
    assert {each.feature for each in outcome.importance} == features
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=FitOutcome) == outcome

    # what the file answers for the held-out rows is what it was scored on
    model = joblib.load(run.folder / MODEL_FILE)
    rows, _ = table_rows.read(run.path, run.plan)
    raw, truth = rows.features.iloc[rows.test], rows.y[rows.test]
    said = model.predict(raw)
    if rows.labels is None:
        assert evaluate.regression(truth, said)["r2"] == pytest.approx(outcome.metrics["r2"])
    else:
        measured = evaluate.classification(truth, said, model.predict_proba(raw), rows.labels)
        assert measured["accuracy"] == outcome.metrics["accuracy"]
        assert measured["log_loss"] == pytest.approx(outcome.metrics["log_loss"], abs=1e-5)

    # one row, columns in another order, a category that nobody knows, nothing at all
    one = raw.iloc[[0]][raw.columns[::-1]]
    assert model.predict(one).tolist() == pytest.approx(said.tolist()[:1])
    odd = raw.iloc[[0]].assign(**dict.fromkeys(raw.columns))
    assert len(model.predict(odd)) == 1


@pytest.mark.parametrize("slug", [AVERAGE, STACK])
def test_what_errs_apart_is_chosen_and_what_does_not_is_not(run: Run, slug: str, tmp_path: Path) -> None:
    rows, _ = table_rows.read(run.path, run.plan)
    rng = np.random.default_rng(0)
    fold = np.arange(len(rows.train)) % 5

    def blurred(by: float) -> Predictions:
        if rows.labels is None:
            whole = (rows.y + rng.normal(0, by, len(rows.y)))[:, None]
        else:
            whole = np.exp(((rows.y[:, None] == rows.labels) + rng.normal(0, by, (len(rows.y), 3))) * 2)
            whole /= whole.sum(axis=1, keepdims=True)
        return Predictions(rows.train, whole[rows.train], fold, whole[rows.test])

    def chosen(*blurs: float) -> Choice:
        members = []
        for place, by in enumerate(blurs):
            folder = tmp_path / f"{by}-{place}-{len(blurs)}"
            folder.mkdir()
            predictions.write(folder, blurred(by))
            given = {"predictions": folder / PREDICTIONS_FILE, "slug": f"m{place}", "label": f"Model {place}"}
            members.append(msgspec.structs.replace(run.members[0], cv_mean=float(by), **given))
        return ensemble_fit.choose(run.path, run.plan, slug, members, 20.0, quiet)

    together = chosen(0.5, 0.5, 4.0)
    assert together.reason is None and {"m0", "m1"} <= together.weights.keys()
    alone = chosen(0.1, 9.0)
    assert alone.weights == {} and "Model 0 alone" in (alone.reason or "")
    assert "same rows" in (chosen(0.1).reason or "")


def test_the_file_opens_without_this_project(run: Run, tmp_path: Path) -> None:
    outcome = run.combine(STACK, two_of(run))
    answer = subprocess.run(
        [sys.executable, "-c", PREDICT_EXAMPLE, str(run.folder / MODEL_FILE)],
        input=json.dumps(outcome.example.rows),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    predicted, modules = json.loads(answer.stdout)
    assert predicted == pytest.approx(outcome.example.predictions) or predicted == outcome.example.predictions
    assert not {"services", "shared"} & set(modules)


def test_another_file_than_the_signed_one_is_not_opened(run: Run) -> None:
    choice = two_of(run)
    chosen = next(member for member in run.members if member.slug in choice.weights)
    content = chosen.model.read_bytes()
    chosen.model.write_bytes(content + b" ")
    try:
        with pytest.raises(StorageCorrupt):
            run.combine(AVERAGE, choice)
    finally:
        chosen.model.write_bytes(content)


# --- whose predictions are put side by side -----------------------------------------------------


LABELS = np.array(["no", "yes"], dtype=object)


def panel_of(folder: Path, **told: Predictions) -> ensemble_fit.Panel:
    """The members in the order given, best first."""
    rows = table_rows.Rows(
        features=pd.DataFrame(index=range(100)),
        y=LABELS[np.arange(100) % 2],
        groups=None,
        train=np.arange(80),
        test=np.arange(80, 100),
        labels=LABELS,
    )
    table = mixed_table.features(100).assign(target=rows.y)
    plan: Plan = mixed_table.plan(table, "target", TaskType.CLASSIFICATION)
    members = []
    for place, (slug, each) in enumerate(told.items()):
        (folder / slug).mkdir()
        predictions.write(folder / slug, each)
        members.append(
            Member(
                slug=slug,
                label=slug.title(),
                predictions=folder / slug / PREDICTIONS_FILE,
                model=folder / slug / MODEL_FILE,
                sha256="",
                cv_mean=1 - place / 10,
                fit_seconds=1.0,
                refit=True,
                packages=[],
                importance=[Importance("x", 0.1, 0.0)],
            )
        )
    return ensemble_fit.side_by_side(members[::-1], rows, plan)


def told(train: np.ndarray, fold: np.ndarray, held: int = 20, columns: int = 2) -> Predictions:
    rng = np.random.default_rng(len(train))
    return Predictions(
        train=train,
        oof=rng.dirichlet((1,) * columns, len(train)),
        fold=fold,
        test=rng.dirichlet((1,) * columns, held),
    )


def test_the_best_members_rows_are_judged_on(tmp_path: Path) -> None:
    every, folds = np.arange(80), np.arange(80) % 5
    short = folds < 3
    found = panel_of(
        tmp_path,
        best=told(every[short], folds[short]),
        whole=told(every, folds),
        shorter=told(every[folds < 2], folds[folds < 2]),
        shortest=told(every[folds < 1], folds[folds < 1]),
    )
    # the third lacks a third of the best one's rows, the last two thirds
    assert [member.slug for member in found.members] == ["best", "whole", "shorter"]
    np.testing.assert_array_equal(found.train, every[folds < 2])
    np.testing.assert_array_equal(found.fold, folds[folds < 2])
    assert found.oof.shape == (3, 32, 2) and found.test.shape == (3, 20, 2)


def test_what_is_of_another_table_or_split_is_left_out(tmp_path: Path) -> None:
    every, folds = np.arange(80), np.arange(80) % 5
    found = panel_of(
        tmp_path,
        best=told(every, folds),
        other_folds=told(every, folds[::-1]),
        other_rows=told(every + 15, folds),
        other_test=told(every, folds, held=19),
        other_classes=told(every, folds, columns=3),
    )
    assert [member.slug for member in found.members] == ["best"]


def test_no_file_at_all_is_no_member(tmp_path: Path) -> None:
    (tmp_path / "panel").mkdir()
    found = panel_of(tmp_path / "panel", best=told(np.arange(80), np.arange(80) % 5))
    found.members[0].predictions.write_bytes(b"broken")
    rows = table_rows.Rows(pd.DataFrame(), np.zeros(100), None, np.arange(80), np.arange(80, 100), LABELS)
    table = mixed_table.features(100).assign(target=LABELS[np.arange(100) % 2])
    plan = mixed_table.plan(table, "target", TaskType.CLASSIFICATION)
    assert ensemble_fit.side_by_side(found.members, rows, plan).members == []
