from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from services.trainer import candidates, evaluate, prepare
from shared.contracts.catalogue import ENSEMBLES, MODELS
from shared.contracts.states import TaskType
from shared.errors import CannotTrain
from tests.unit.trainer import mixed_table

FITTED = {kind: [slug for slug in MODELS[kind] if slug not in ENSEMBLES] for kind in TaskType}
"""What is fitted on a table, and not made of other models."""
CLASSIFIERS = FITTED[TaskType.CLASSIFICATION]
REGRESSORS = FITTED[TaskType.REGRESSION]

EVERY_ONE = [(kind, slug) for kind in (TaskType.CLASSIFICATION, TaskType.REGRESSION) for slug in FITTED[kind]]

OPEN_ALL = """
import json, pathlib, sys
import joblib, pandas as pd
frames = [pd.read_csv(path) for path in sys.argv[2:]]
answers = {
    path.stem: [joblib.load(path).predict(frame).tolist() for frame in frames]
    for path in pathlib.Path(sys.argv[1]).glob("*.pkl")
}
ours = [name for name in sys.modules if name.split(".")[0] in ("services", "shared", "tests", "msgspec")]
print(json.dumps([answers, ours]))
"""


def fitted(slug: str, task_type: TaskType, table: pd.DataFrame, target: np.ndarray) -> Pipeline:
    columns = prepare.survey(table, mixed_table.ROLES)
    given = candidates.situation(columns, target, task_type, seed=0, threads=1)
    model = candidates.build(slug, task_type, given)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(table, target)


def test_every_slug_of_the_contract_can_be_built_and_no_other() -> None:
    for task_type in (TaskType.CLASSIFICATION, TaskType.REGRESSION):
        assert list(candidates.builders(task_type)) == FITTED[task_type]
    given = candidates.situation(
        prepare.survey(mixed_table.features(9), {"size": "numeric"}), np.zeros(9), TaskType.REGRESSION, 0, 1
    )
    with pytest.raises(CannotTrain, match="svm"):
        candidates.build("svm", TaskType.REGRESSION, given)
    with pytest.raises(CannotTrain, match="time_series"):
        candidates.build("auto_ets", TaskType.TIME_SERIES, given)


@pytest.mark.parametrize("kind", ["words", "flags", "numbers"])
@pytest.mark.parametrize("slug", CLASSIFIERS)
def test_a_classifier_learns_and_answers_in_the_tables_own_labels(slug: str, kind: str) -> None:
    table = mixed_table.features(300)
    target = mixed_table.classes(table, kind).to_numpy()
    model = fitted(slug, TaskType.CLASSIFICATION, table[:200], target[:200])
    labels = np.unique(target)
    predicted = model.predict(table[200:])
    assert set(predicted.tolist()) <= set(labels.tolist())
    assert predicted.dtype.kind == target.dtype.kind or target.dtype == object
    proba = evaluate.aligned(model.predict_proba(table[200:]), model.classes_, labels)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    scores = evaluate.classification(target[200:], predicted, proba, labels)
    assert None not in scores.values()
    majority = max((target[200:] == label).mean() for label in labels)
    assert scores["accuracy"] > (majority if slug not in ("naive_bayes", "k_nearest_neighbors") else 0.4)


@pytest.mark.parametrize("slug", REGRESSORS)
def test_a_regressor_learns_a_target_far_from_zero(slug: str) -> None:
    table = mixed_table.features(300)
    target = mixed_table.signal(table).to_numpy() * 1e3 + 1e6
    model = fitted(slug, TaskType.REGRESSION, table[:200], target[:200])
    scores = evaluate.regression(target[200:], model.predict(table[200:]))
    assert None not in scores.values()
    assert scores["r2"] > (0.8 if slug != "k_nearest_neighbors" else 0.1)


@pytest.mark.parametrize(("task_type", "slug"), EVERY_ONE)
def test_odd_rows_are_answered(task_type: TaskType, slug: str) -> None:
    table = mixed_table.features()
    of_classes = task_type is TaskType.CLASSIFICATION
    target = (mixed_table.classes(table, "words") if of_classes else mixed_table.signal(table)).to_numpy()
    model = fitted(slug, task_type, table, target)
    whole = model.predict(table)
    np.testing.assert_array_equal(model.predict(table[table.columns[::-1]].assign(more=1)), whole)
    one = model.predict(table.iloc[[5]])
    assert one[0] == (whole[5] if of_classes else pytest.approx(whole[5], rel=1e-5))
    nothing = pd.DataFrame([dict.fromkeys(mixed_table.ROLES)])
    strange = pd.DataFrame(
        [
            {
                "size": "12%",
                "count": np.inf,
                "price": 7,
                "colour": "violet",
                "shop": 12,
                "grade": "3",
                "member": "perhaps",
                "bought": "never",
                "note": 3.5,
            }
        ]
    )
    for frame in (nothing, strange):
        answer = model.predict(frame)
        assert answer.shape == (1,)
        assert answer[0] in set(target) if of_classes else np.isfinite(answer[0])


@pytest.mark.parametrize("slug", CLASSIFIERS)
def test_a_class_of_one_row_and_a_rare_class_are_survived(slug: str) -> None:
    table = mixed_table.features(400)
    target = np.where(mixed_table.signal(table) > 0, "often", "seldom").astype(object)
    target[:3] = "rare"
    target[3] = "once"
    model = fitted(slug, TaskType.CLASSIFICATION, table, target)
    assert sorted(model.classes_) == ["often", "once", "rare", "seldom"]
    proba = model.predict_proba(table)
    assert evaluate.score("log_loss", target, target, proba, model.classes_) is not None


@pytest.mark.parametrize(("task_type", "slug"), EVERY_ONE)
def test_a_handful_of_rows_is_enough(task_type: TaskType, slug: str) -> None:
    table = mixed_table.features(8)
    of_classes = task_type is TaskType.CLASSIFICATION
    target = np.array(["a", "b"] * 4, dtype=object) if of_classes else np.arange(8.0)
    assert fitted(slug, task_type, table, target).predict(table).shape == (8,)


def test_pickles_open_where_none_of_this_code_is(tmp_path: Path) -> None:
    """One process opens all of them: from another folder, isolated, with what `read_csv` gives it."""
    table = mixed_table.features()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sheets = [tmp_path / "whole.csv", tmp_path / "turned.csv", tmp_path / "row.csv"]
    table.to_csv(sheets[0], index=False)
    table[table.columns[::-1]].assign(target="?").to_csv(sheets[1], index=False)
    table.iloc[[4]].to_csv(sheets[2], index=False)
    read = [pd.read_csv(sheet) for sheet in sheets]
    models: dict[str, Pipeline] = {}
    for slug in CLASSIFIERS:
        target = mixed_table.classes(table, "words").to_numpy()
        models[f"classification {slug}"] = fitted(slug, TaskType.CLASSIFICATION, table, target)
    for slug in REGRESSORS:
        models[f"regression {slug}"] = fitted(
            slug, TaskType.REGRESSION, table, mixed_table.signal(table).to_numpy()
        )
    for name, model in models.items():
        joblib.dump(model, tmp_path / f"{name}.pkl")
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error::UserWarning", "-c", OPEN_ALL, str(tmp_path), *map(str, sheets)],
        cwd=elsewhere,
        env={"OMP_NUM_THREADS": "1", "HOME": str(elsewhere)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers, ours = json.loads(done.stdout)
    assert ours == []
    assert set(answers) == set(models)
    for name, model in models.items():
        for found, frame in zip(answers[name], read, strict=True):
            expected = model.predict(frame).tolist()
            assert found == (expected if name.startswith("cl") else pytest.approx(expected, rel=1e-6)), name
