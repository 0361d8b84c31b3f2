"""Fitted estimators as nodes: on the table's columns (`Table`), or on a matrix that is the name of a tensor.

A classifier answers with its probabilities (rows, classes) in the order of its `classes_`, a regressor with
its prediction (rows, 1). Trees, linear models, networks and so on are skl2onnx's and onnxmltools' work;
votes, stacks and scaled targets are put together here, since their members are whole pipelines on raw
columns.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct
from scipy.special import logit
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler

from services.trainer.onnx_model import cleaning, encoders, oblivious, trees
from services.trainer.onnx_model.cleaning import Block, Step
from services.trainer.onnx_model.graph import OPSETS, Graph
from services.trainer.onnx_model.neighbors import neighbors
from shared.errors import NotConvertible

Thresholds = FixedThresholdClassifier | TunedThresholdClassifierCV
Forests = RandomForestClassifier | RandomForestRegressor | ExtraTreesClassifier | ExtraTreesRegressor
Boosting = HistGradientBoostingClassifier | HistGradientBoostingRegressor


class Table(Struct):
    """The table that a pipeline is given, and `blocks`, what of it the graph takes so far: members of an
    ensemble that clean columns alike share their inputs."""

    blocks: list[Block]

    def inputs(self, wanted: Block) -> list[str]:
        """The names of a block's inputs, in their order: each as its column, with a number where that is
        taken."""
        for block in self.blocks:
            if msgspec.structs.replace(block, inputs=[]) == wanted:
                return block.inputs
        taken = {name for block in self.blocks for name in block.inputs}
        named = wanted.columns if len(wanted.columns) == wanted.width else wanted.columns[:1]
        names = []
        for column in named:
            tried = (f"{column} ({number})" for number in itertools.count(2))
            names.append(column if column not in taken else next(name for name in tried if name not in taken))
            taken.add(names[-1])
        self.blocks.append(msgspec.structs.replace(wanted, inputs=names))
        return names


Source = Table | str


def answer(graph: Graph, estimator: Any, source: Source) -> str:
    """The estimator's probabilities or its prediction. Raises NotConvertible."""
    if isinstance(estimator, FrozenEstimator):
        return answer(graph, estimator.estimator, source)
    if isinstance(estimator, Thresholds):
        return answer(graph, estimator.estimator_, source)
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            source = _transformed(graph, step, source)
        return answer(graph, estimator.steps[-1][1], source)
    if isinstance(estimator, TransformedTargetRegressor):
        return _unscaled(graph, estimator, answer(graph, estimator.regressor_, source))
    if isinstance(estimator, VotingClassifier | VotingRegressor):
        return _vote(graph, estimator, source)
    if isinstance(estimator, StackingClassifier | StackingRegressor):
        return _stack(graph, estimator, source)
    if isinstance(source, Table):
        raise NotConvertible(f"{type(estimator).__name__} takes the table as it is, which ONNX does not")
    if isinstance(estimator, Forests):
        return trees.forest(graph, estimator, source)
    if isinstance(estimator, Boosting):
        return trees.boosting(graph, estimator, source)
    if isinstance(estimator, KNeighborsClassifier | KNeighborsRegressor):
        return neighbors(graph, estimator, source)
    if type(estimator).__module__.partition(".")[0] == "catboost":
        return oblivious.boosting(graph, estimator, source)
    return _library(graph, estimator, source)


# --- from the table to a matrix -----------------------------------------------------------------


def _transformed(graph: Graph, step: Any, source: Source) -> str:
    if isinstance(source, Table):
        if not isinstance(step, ColumnTransformer):
            raise NotConvertible(f"{type(step).__name__} takes the table as it is, which ONNX does not")
        parts = [
            _branch(graph, branch, columns, width, source)
            for name, branch, columns in step.transformers_
            if (width := _width(step.output_indices_[name]))
        ]
        return graph.concatenated(parts)
    if isinstance(step, encoders.ENCODERS):
        places = range(step.n_features_in_)
        each = [graph.add("Gather", source, graph.constant([at], np.int64), axis=1) for at in places]
        return encoders.encoded(graph, step, each)
    if isinstance(step, SimpleImputer):
        return encoders.filled(graph, step, source)
    if isinstance(step, StandardScaler):
        return encoders.scaled(graph, step, source)
    if isinstance(step, SplineTransformer):
        return encoders.splines(graph, step, source)
    if isinstance(step, Pipeline):
        for _, each in step.steps:
            source = _transformed(graph, each, source)
        return source
    if isinstance(step, ColumnTransformer):
        return _side_by_side(graph, step, source)
    if isinstance(step, str) and step == "passthrough":
        return source
    if isinstance(step, FunctionTransformer):
        return _function(graph, step, source)
    return _converted(graph, step, source, step.n_features_in_, "variable")


def _function(graph: Graph, step: FunctionTransformer, x: str) -> str:
    """Functions of numpy, pandas and scipy on a matrix: what a stack does to its members' probabilities, and
    what makes whole numbers of codes."""
    given = step.kw_args or {}
    if step.func in (None, np.asarray, pd.DataFrame, pd.DataFrame.astype):  # a graph has float32 all along
        return x
    if step.func is pd.DataFrame.fillna and set(given) == {"value"}:  # columns by their places
        instead = [given["value"].get(at, np.nan) for at in range(step.n_features_in_)]
        return graph.add("Where", graph.add("IsNaN", x), graph.constant([instead], np.float32), x)
    if step.func is np.clip and set(given) <= {"a_min", "a_max"}:
        bounds = (given.get("a_min", -np.inf), given.get("a_max", np.inf))
        return graph.add("Clip", x, *(graph.constant(bound, np.float32) for bound in bounds))
    if step.func is np.log and not given:
        return graph.add("Log", x)
    if step.func is logit and not given:
        rest = graph.add("Sub", graph.constant(1, np.float32), x)
        return graph.add("Log", graph.add("Div", x, rest))
    name = getattr(step.func, "__name__", str(step.func))
    raise NotConvertible(f"it computes {name} between its steps, which is not converted")


def _side_by_side(graph: Graph, step: ColumnTransformer, matrix: str) -> str:
    """Columns of a matrix, by their places, each through a transformer of its own."""
    parts = []
    for name, branch, columns in step.transformers_:
        if _width(step.output_indices_[name]):
            places = np.arange(step.n_features_in_)[columns]
            chosen = graph.add("Gather", matrix, graph.constant(places, np.int64), axis=1)
            parts.append(_transformed(graph, branch, chosen))
    return graph.concatenated(parts)


def _width(columns: slice) -> int:
    return int(columns.stop - columns.start)


def _branch(graph: Graph, branch: Any, columns: Any, width: int, table: Table) -> str:
    """A few columns through the steps that prepare them: first those of pandas and numpy, which become the
    inputs' cleaning. `width`: of what comes out."""
    single = isinstance(columns, str)
    names = [columns] if single else list(columns)
    if not all(isinstance(name, str) for name in names):
        raise NotConvertible("its columns are chosen by their places, not by their names")
    steps = [each for _, each in branch.steps] if isinstance(branch, Pipeline) else [branch]
    steps = [each for each in steps if not (isinstance(each, str) and each == "passthrough")]
    cleaned: list[Step] = []
    while steps and isinstance(steps[0], FunctionTransformer):
        try:
            recorded = cleaning.step(steps[0])
        except NotConvertible as error:
            raise NotConvertible(f"{', '.join(map(repr, names))}: {error.detail}") from None
        cleaned += [] if recorded is None else [recorded]
        steps = steps[1:]
    text = bool(steps) and isinstance(steps[0], encoders.ENCODERS) and encoders.of_text(steps[0])
    if steps and not text and type(steps[0]).__module__.partition(".")[0] != "sklearn":
        raise NotConvertible(
            f"{', '.join(map(repr, names))}: {type(steps[0]).__name__}, which reads it, has no form in ONNX"
        )
    block = Block(
        columns=names,
        single=single,
        steps=cleaned,
        type="string" if text else "float",
        width=int(steps[0].n_features_in_) if steps else width,
        inputs=[],
    )
    inputs = table.inputs(block)
    if text:
        matrix, steps = encoders.encoded(graph, steps[0], inputs), steps[1:]
    else:
        matrix = graph.concatenated(inputs)
    for each in steps:
        matrix = _transformed(graph, each, matrix)
    return matrix


# --- what is made of other estimators -----------------------------------------------------------


def _vote(graph: Graph, vote: Any, source: Source) -> str:
    """The mean of the members' answers, by their weights."""
    if isinstance(vote, VotingClassifier) and vote.voting != "soft":
        raise NotConvertible("its members vote by label, which is not converted")
    weights = (
        np.ones(len(vote.estimators_)) if vote.weights is None else np.asarray(_weights(vote), dtype=float)
    )
    weights = weights / weights.sum()
    parts = [
        graph.add("Mul", answer(graph, member, source), graph.constant(weight, np.float32))
        for member, weight in zip(vote.estimators_, weights, strict=True)
        if weight
    ]
    return graph.add("Sum", *parts)


def _weights(vote: Any) -> list[float]:
    """Those of the members that were not dropped, as the members are."""
    return [
        weight
        for (_, member), weight in zip(vote.estimators, vote.weights, strict=True)
        if _is_member(member)
    ]


def _is_member(member: Any) -> bool:
    return not (isinstance(member, str) and member == "drop")


def _stack(graph: Graph, stack: Any, source: Source) -> str:
    """The last estimator on the members' answers; of two probabilities scikit-learn keeps the second."""
    if stack.passthrough:
        raise NotConvertible("its last model sees the table again, which is not converted")
    if set(stack.stack_method_) - {"predict_proba", "predict"}:
        raise NotConvertible("its members hand on something else than probabilities")
    parts = []
    for member, method in zip(stack.estimators_, stack.stack_method_, strict=True):
        part = answer(graph, member, source)
        if method == "predict" and is_classifier(member):
            raise NotConvertible("its members hand on labels, which is not converted")
        if method == "predict_proba" and len(member.classes_) == 2:
            part = graph.add("Gather", part, graph.constant([1], np.int64), axis=1)
        parts.append(part)
    return answer(graph, stack.final_estimator_, graph.concatenated(parts))


def _unscaled(graph: Graph, estimator: TransformedTargetRegressor, predicted: str) -> str:
    """A prediction of the transformed target, back in its own unit."""
    transformer = estimator.transformer_
    if isinstance(transformer, Pipeline):
        for _, step in reversed(transformer.steps):
            predicted = _inverse(graph, step, predicted)
        return predicted
    return _inverse(graph, transformer, predicted)


_INVERSES: dict[Callable[..., Any], Callable[[Graph, str], str]] = {
    np.exp: lambda graph, x: graph.add("Exp", x),
    np.expm1: lambda graph, x: graph.add("Sub", graph.add("Exp", x), graph.constant(1, np.float32)),
    np.square: lambda graph, x: graph.add("Mul", x, x),
    np.sinh: lambda graph, x: graph.add("Sinh", x),
}


def _inverse(graph: Graph, transformer: Any, x: str) -> str:
    if isinstance(transformer, StandardScaler):
        if transformer.scale_ is not None and transformer.with_std:
            x = graph.add("Mul", x, graph.constant(transformer.scale_.reshape(1, -1), np.float32))
        if transformer.mean_ is not None and transformer.with_mean:
            x = graph.add("Add", x, graph.constant(transformer.mean_.reshape(1, -1), np.float32))
        return x
    if isinstance(transformer, FunctionTransformer) and not transformer.inv_kw_args:
        if transformer.inverse_func is None:
            return x
        if transformer.inverse_func in _INVERSES:
            return _INVERSES[transformer.inverse_func](graph, x)
    raise NotConvertible(f"its target is transformed by {type(transformer).__name__}, which is not converted")


# --- what libraries convert ---------------------------------------------------------------------


def _library(graph: Graph, estimator: Any, matrix: str) -> str:
    wanted = "probabilities" if is_classifier(estimator) else "variable"
    return _converted(graph, estimator, matrix, estimator.n_features_in_, wanted)


def _converted(graph: Graph, estimator: Any, matrix: str, width: int, wanted: str) -> str:
    import skl2onnx
    from onnxmltools.convert import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as BoosterTensorType
    from skl2onnx.common.data_types import FloatTensorType

    library, name = type(estimator).__module__.partition(".")[0], type(estimator).__name__
    try:
        if library == "lightgbm":
            given = [("X", BoosterTensorType([None, width]))]
            made = convert_lightgbm(
                _numbered(estimator), initial_types=given, zipmap=False, target_opset=OPSETS[""]
            )
        elif library == "xgboost":
            given = [("X", BoosterTensorType([None, width]))]
            made = convert_xgboost(estimator, initial_types=given, target_opset=OPSETS[""])
        else:
            plain = _numbered(estimator)
            options = {id(plain): {"zipmap": False}} if wanted == "probabilities" else None
            made = skl2onnx.convert_sklearn(
                plain,
                initial_types=[("X", FloatTensorType([None, width]))],
                options=options,
                target_opset=OPSETS,
            )
    except Exception as error:  # each library has errors of its own for what it does not know
        raise NotConvertible(f"{name} cannot be converted: {' '.join(str(error).split())[:300]}") from error
    return graph.include(made, matrix, _output(made, wanted))


def _output(made: Any, wanted: str) -> str:
    names: Sequence[str] = [value.name for value in made.graph.output]
    return wanted if wanted in names else names[-1]


def _numbered(estimator: Any) -> Any:
    """The same with 0, 1, … for labels: converters know fewer kinds of labels than tables have, and the
    labels are put on at the end."""
    if not is_classifier(estimator):
        return estimator
    plain = copy.copy(estimator)
    numbers = np.arange(len(estimator.classes_))
    if hasattr(plain, "_label_binarizer"):
        plain._label_binarizer = copy.copy(plain._label_binarizer)
        plain._label_binarizer.classes_ = numbers
    vars(plain)["_classes" if "_classes" in vars(plain) else "classes_"] = numbers
    return plain
