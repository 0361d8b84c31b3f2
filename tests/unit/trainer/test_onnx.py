"""Every family as a graph: what it answers is what the pickle does, on rows that nobody has seen."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import runpy
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.base import BaseEstimator
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from services.trainer import candidates, convert_onnx, prepare
from services.trainer.onnx_model import cleaning, parity
from services.trainer.onnx_model.build import BLOCKS_KEY, Built, build
from services.trainer.outcome import ONNX_FILE
from shared.contracts.downloads import Parity
from shared.contracts.states import TaskType
from shared.errors import NotConvertible, StorageCorrupt
from tests.unit.trainer import mixed_table

ROLES = {name: role for name, role in mixed_table.ROLES.items() if role != "text"}
EFFORT = 25
"""Trees, rounds or epochs: as many as it takes to ask every column for something."""

SLUGS = [
    (kind, slug)
    for kind in (TaskType.CLASSIFICATION, TaskType.REGRESSION)
    for slug in candidates.builders(kind)
]


def rows() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Some to fit on, and some with shops never seen, cells of nothing and numbers out of all bounds; words
    and flags are written in several ways."""
    table = mixed_table.features(250)
    table.loc[::5, "colour"] = table["colour"].str.upper() + " "
    table["member"] = table["member"].map({True: "Yes", False: "no"})
    table.loc[::6, "member"] = table["member"].str.lower()
    seen, held = table[:150], table[150:].reset_index(drop=True)
    held.loc[0:5, ["shop", "colour"]] = "never heard of"
    held.loc[6, :] = None
    held.loc[7, "size"] = np.inf
    return seen, held


def target(table: pd.DataFrame, kind: str) -> np.ndarray:
    return (
        mixed_table.signal(table).to_numpy()
        if kind == "signal"
        else mixed_table.classes(table, kind).to_numpy()
    )


@functools.cache
def known(task_type: TaskType, slug: str, kind: str) -> Any:
    """Fitted on what `rows` has for that; for looking at only."""
    return fitted(task_type, slug, kind, rows()[0])


def fitted(task_type: TaskType, slug: str, kind: str, table: pd.DataFrame) -> Any:
    columns = prepare.survey(table, ROLES)
    y = target(table, kind)
    given = candidates.situation(columns, y, task_type, 0, 1, settings=candidates.Settings(effort=EFFORT))
    model = candidates.build(slug, task_type, given).fit(table, y)
    return pickle.loads(pickle.dumps(model))  # not all that a library keeps comes out again


def compared(model: Any, held: pd.DataFrame) -> Parity:
    built = build(model)
    return parity.compare(model, built, built.model.SerializeToString(), held)


def _neighbors_told_apart(model: Any, held: pd.DataFrame) -> np.ndarray:
    """Rows whose last neighbor is nearer than the next by more than a graph's float32 inputs may hide."""
    neighbors = model.named_steps["model"]
    if not isinstance(neighbors, KNeighborsClassifier | KNeighborsRegressor):
        return np.ones(len(held), dtype=bool)
    last = neighbors.n_neighbors
    distances, _ = neighbors.kneighbors(model.named_steps["prepare"].transform(held), last + 1)
    return distances[:, last] - distances[:, last - 1] > 1e-4


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # a network is not fitted to its end here
@pytest.mark.parametrize(("task_type", "slug"), SLUGS)
def test_every_family_answers_as_its_pickle(task_type: TaskType, slug: str) -> None:
    _, held = rows()
    kind = "signal" if task_type is TaskType.REGRESSION else "words"
    model = known(task_type, slug, kind)
    told_apart = held[_neighbors_told_apart(model, held)]
    found = compared(model, told_apart)
    assert found.rows == len(told_apart) > 90
    # a network makes more of what float32 has lost of a date's trend
    assert found.max_abs_difference < (1.0 if slug == "mlp" else 0.5) * found.tolerance
    assert task_type is TaskType.REGRESSION or found.equal_labels == 1.0


@pytest.mark.parametrize("depth", [0, 3])
def test_catboost_without_categories(depth: int) -> None:
    """Also trees that ask for nothing, as it grows them where no split pays."""
    table = pd.DataFrame({"x": np.tile([0.0, 1.0, np.nan], 60), "y": np.arange(180) / 7})
    labels = np.where(table["y"] > 9, "yes", "no")
    columns = prepare.survey(table, dict.fromkeys(table, "numeric"))
    settings = candidates.Settings(effort=EFFORT)
    given = candidates.situation(columns, labels, TaskType.CLASSIFICATION, 0, 1, settings=settings)
    model = candidates.build("catboost", TaskType.CLASSIFICATION, given)
    model.set_params(model__catboost__depth=depth).fit(table, labels)
    assert compared(model, table).equal_labels == 1.0


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbors_by_the_sum_of_differences(weights: str) -> None:
    seen, held = rows()
    columns = prepare.survey(seen, ROLES)
    y = target(seen, "signal")
    settings = candidates.Settings(knobs={"p": 1, "weights": weights, "n_neighbors": 5})
    given = candidates.situation(columns, y, TaskType.REGRESSION, 0, 1, settings=settings)
    model = candidates.build("k_nearest_neighbors", TaskType.REGRESSION, given).fit(seen, y)
    told_apart = held[_neighbors_told_apart(model, held)]
    found = compared(model, told_apart)
    assert found.rows > 90
    assert found.max_abs_difference < 0.5 * found.tolerance


def test_numbers_that_lie_just_where_trees_compare_go_the_same_way() -> None:
    """Cents: what lies in the middle between two of them is a third, or its neighbor among the floats."""
    cents = np.arange(0, 400)
    table = pd.DataFrame({"price": cents / 100})
    seen, held = table[::2], table[1::2].reset_index(drop=True)
    y = np.sin(seen["price"] * 9).to_numpy() * np.arange(200)
    columns = prepare.survey(seen, {"price": "numeric"})
    given = candidates.situation(columns, y, TaskType.REGRESSION, 0, 1)
    model = candidates.build("hist_gradient_boosting", TaskType.REGRESSION, given).fit(seen, y)
    found = compared(model, held)
    assert found.max_abs_difference < 0.1 * found.tolerance


@pytest.mark.parametrize("kind", ["flags", "numbers"])
def test_labels_are_the_tables_own(kind: str) -> None:
    seen, held = rows()
    model = fitted(TaskType.CLASSIFICATION, "hist_gradient_boosting", kind, seen)
    built = build(model)
    assert compared(model, held).equal_labels == 1.0
    assert (
        built.model.graph.output[0].type.tensor_type.elem_type
        == {
            "flags": onnx.TensorProto.BOOL,
            "numbers": onnx.TensorProto.INT64,
        }[kind]
    )


def members(task_type: TaskType, kind: str) -> list[tuple[str, Any]]:
    linear = "ridge" if task_type is TaskType.REGRESSION else "logistic_regression"
    slugs = ["hist_gradient_boosting", "xgboost", linear]
    return [(slug, FrozenEstimator(known(task_type, slug, kind))) for slug in slugs]


def ensembles(kind: str, seen: pd.DataFrame) -> list[BaseEstimator]:
    """As `services.trainer.ensemble_model` makes them."""
    y = target(seen, kind)
    if kind == "signal":
        made = members(TaskType.REGRESSION, kind)
        meta = Ridge(positive=True).fit(np.column_stack([m.predict(seen) for _, m in made]), y)
        stack = StackingRegressor(made, FrozenEstimator(meta), cv="prefit").fit(seen[:3], y[:3])
        return [VotingRegressor(made, weights=[0.2, 0.5, 0.3]).fit(seen[:3], y[:3]), stack]
    made = members(TaskType.CLASSIFICATION, kind)
    labels = made[0][1].classes_
    some = [int(np.flatnonzero(y == label)[0]) for label in labels]
    few, of_few = seen.iloc[some], y[some]
    vote = VotingClassifier(made, voting="soft", weights=[1, 2, 3], flatten_transform=False).fit(few, of_few)
    drop = 1 if len(labels) == 2 else 0
    told = np.column_stack([m.predict_proba(seen)[:, drop:] for _, m in made])
    meta = make_pipeline(
        FunctionTransformer(np.clip, kw_args={"a_min": 1e-3, "a_max": 1 - 1e-3}),
        FunctionTransformer(logit if drop else np.log),
        LogisticRegression(),
    ).fit(told, np.searchsorted(labels, y))
    stack = StackingClassifier(made, FrozenEstimator(meta), cv="prefit", stack_method="predict_proba")
    answers = [vote, stack.fit(few, of_few)]
    if drop:
        cut = FixedThresholdClassifier(
            FrozenEstimator(vote), threshold=0.2, pos_label=labels[1], response_method="predict_proba"
        )
        answers.append(cut.fit(few, of_few))
    return answers


@pytest.mark.parametrize(("kind", "count"), [("signal", 2), ("words", 2), ("flags", 3)])
def test_ensembles_answer_as_their_pickles(kind: str, count: int) -> None:
    seen, held = rows()
    made = ensembles(kind, seen)
    assert len(made) == count
    for ensemble in made:
        found = compared(ensemble, held)
        assert found.max_abs_difference < 0.5 * found.tolerance
        assert kind == "signal" or found.equal_labels == 1.0
        # members that clean a column alike share its input
        inputs = [value.name for value in build(ensemble).model.graph.input]
        assert len(inputs) == len(set(inputs)) < 3 * len(ROLES)
        assert {"size", "colour"} <= set(inputs)


def test_a_model_of_text_is_left_out_with_the_column_named() -> None:
    seen, _ = rows()
    columns = prepare.survey(seen, mixed_table.ROLES)
    y = target(seen, "words")
    given = candidates.situation(columns, y, TaskType.CLASSIFICATION, 0, 1)
    model = candidates.build("random_forest", TaskType.CLASSIFICATION, given).fit(seen, y)
    with pytest.raises(NotConvertible, match="'note'"):
        build(model)


def test_a_graph_that_answers_otherwise_is_refused() -> None:
    seen, held = rows()
    model = fitted(TaskType.REGRESSION, "ridge", "signal", seen)
    built = build(model)
    content = built.model.SerializeToString()
    another = fitted(TaskType.REGRESSION, "extra_trees", "signal", seen)
    with pytest.raises(NotConvertible, match="predicts something else: on 100 held-out rows"):
        parity.compare(another, built, content, held)
    with pytest.raises(NotConvertible, match="no held-out rows"):
        parity.compare(model, built, content, held[:0])


def test_what_is_not_on_the_list_of_calls_is_neither_recorded_nor_made() -> None:
    for function in (pd.read_pickle, pd.DataFrame.eval, pd.DataFrame.pipe):
        with pytest.raises(NotConvertible, match="is not recorded"):
            cleaning.step(FunctionTransformer(function))
    with pytest.raises(NotConvertible, match="is not recorded"):
        cleaning.step(FunctionTransformer(pd.DataFrame.apply, kw_args={"func": eval}))


# --- the file, and whoever has it ---------------------------------------------------------------


@pytest.fixture
def converted(tmp_path: Path) -> tuple[Path, Any, pd.DataFrame]:
    """A folder with a graph that the step of a child made, its pickle's model and the table."""
    table = mixed_table.features(250)
    table["kind"] = mixed_table.classes(table, "words")
    plan = mixed_table.plan(
        table, "kind", TaskType.CLASSIFICATION, roles=ROLES, labels=["high", "low", "middle"]
    )
    model = fitted(TaskType.CLASSIFICATION, "random_forest", "words", table)
    joblib.dump(model, tmp_path / "model.pkl")
    sha256 = hashlib.sha256((tmp_path / "model.pkl").read_bytes()).hexdigest()
    path = mixed_table.write(table, tmp_path / "table.arrow")
    with pytest.raises(StorageCorrupt):
        convert_onnx.convert(tmp_path / "model.pkl", "0" * 64, path, plan, tmp_path, lambda *_: None)
    made = convert_onnx.convert(tmp_path / "model.pkl", sha256, path, plan, tmp_path, lambda *_: None)
    assert made.facts.parity.rows == 50
    assert [(o.name, o.shape) for o in made.facts.outputs] == [
        ("label", [None]),
        ("probabilities", [None, 3]),
    ]
    assert {column for each in made.facts.inputs for column in each.columns or []} == set(ROLES)
    assert made.requires[0].startswith("onnxruntime==")
    return tmp_path, model, table


def test_whoever_has_the_file_alone_gets_the_pickles_answers(
    converted: tuple[Path, Any, pd.DataFrame],
) -> None:
    folder, model, table = converted
    script = Path(convert_onnx.__file__).parent / "report" / "predict_onnx.py"
    there = runpy.run_path(str(script))
    assert set(there["CALLS"]) == set(cleaning.CALLS)
    graph = there["Graph"](folder / ONNX_FILE)
    assert graph.classes_ == model.classes_.tolist()
    assert graph.predict(table).tolist() == model.predict(table).tolist()
    assert np.abs(graph.predict_proba(table) - model.predict_proba(table)).max() < 1e-5


def test_the_file_says_what_it_takes(converted: tuple[Path, Any, pd.DataFrame]) -> None:
    read = onnx.load(converted[0] / ONNX_FILE)
    said = {entry.key: json.loads(entry.value) for entry in read.metadata_props}
    blocks = said[BLOCKS_KEY]
    assert {name for block in blocks for name in block["inputs"]} == {
        value.name for value in read.graph.input
    }
    assert {block["type"] for block in blocks} == {"float", "string"}
    assert isinstance(build(converted[1]), Built)
