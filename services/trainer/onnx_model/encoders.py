"""What turns cleaned columns into the matrix that a model is given, as nodes.

Written here because skl2onnx 1.20 converts none of it as it is set in `services.trainer.prepare`: a one-hot
encoder that takes values never seen, a target encoder of several classes, codes that may be unknown, an
imputer that marks what it filled in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from services.trainer.onnx_model.graph import Graph
from shared.errors import NotConvertible

ENCODERS = (OneHotEncoder, OrdinalEncoder, TargetEncoder)
ML = "ai.onnx.ml"


def encoded(graph: Graph, encoder: Any, columns: Sequence[str]) -> str:
    """Columns of words or numbers (rows, 1) → floats (rows, outputs). Raises NotConvertible."""
    if isinstance(encoder, OneHotEncoder):
        parts = [_one_hot(graph, encoder, column, i) for i, column in enumerate(columns)]
    elif isinstance(encoder, OrdinalEncoder):
        parts = [_codes(graph, encoder, column, i) for i, column in enumerate(columns)]
    else:
        parts = [part for i, column in enumerate(columns) for part in _target(graph, encoder, column, i)]
    return graph.concatenated([part for part in parts if part])


def _one_hot(graph: Graph, encoder: OneHotEncoder, column: str, i: int) -> str:
    """Rare categories share the last column, and so does what was never seen; else that is all zeros."""
    if encoder.drop is not None or encoder.handle_unknown not in ("ignore", "infrequent_if_exist"):
        raise NotConvertible("its one-hot encoder drops columns or refuses what it has not seen")
    categories = encoder.categories_[i]
    rare = getattr(encoder, "infrequent_categories_", None)
    shared = set() if rare is None or rare[i] is None else set(rare[i])
    frequent = [each for each in categories if each not in shared]
    place = {each: at for at, each in enumerate(frequent)} | dict.fromkeys(shared, len(frequent))
    width = len(frequent) + bool(shared)
    if not width:
        return ""
    unseen = len(frequent) if shared and encoder.handle_unknown == "infrequent_if_exist" else width
    index = graph.add(
        "LabelEncoder",
        column,
        domain=ML,
        **_keys(place),
        values_int64s=list(place.values()),
        default_int64=unseen,
    )
    spread = graph.add("OneHotEncoder", index, domain=ML, cats_int64s=list(range(width)), zeros=1)
    return graph.add("Reshape", spread, graph.constant([-1, width], np.int64))


def _codes(graph: Graph, encoder: OrdinalEncoder, column: str, i: int) -> str:
    if encoder.handle_unknown != "use_encoded_value" or getattr(encoder, "infrequent_categories_", None):
        raise NotConvertible("its ordinal encoder groups categories or refuses what it has not seen")
    return _mapped(
        graph, column, encoder.categories_[i], np.arange(len(encoder.categories_[i])), encoder.unknown_value
    )


def _target(graph: Graph, encoder: TargetEncoder, column: str, i: int) -> list[str]:
    """A column for the target's mean in each category; with several classes, one for each of their shares."""
    classes = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
    means = np.atleast_1d(encoder.target_mean_)
    return [
        _mapped(graph, column, encoder.categories_[i], encoder.encodings_[i * classes + k], means[k])
        for k in range(classes)
    ]


def _mapped(graph: Graph, column: str, keys: Sequence[Any], values: Iterable[float], unseen: float) -> str:
    return graph.add(
        "LabelEncoder",
        column,
        domain=ML,
        **_keys(keys),
        values_floats=[float(value) for value in values],
        default_float=float(unseen),
    )


def of_text(encoder: Any) -> bool:
    """Whether it encodes words, and not numbers that stand for something."""
    return all(np.asarray(categories).dtype.kind in "OU" for categories in encoder.categories_)


def _keys(categories: Iterable[Any]) -> dict[str, Any]:
    """Attributes of a LabelEncoder: words, or numbers. Raises NotConvertible for several kinds at once."""
    keys = list(categories)
    if all(isinstance(key, str) for key in keys):
        return {"keys_strings": keys}
    if any(isinstance(key, str) or not np.isfinite(key) for key in keys):
        raise NotConvertible("its categories are of several kinds")
    return {"keys_floats": [float(key) for key in keys]}


# --- numbers ------------------------------------------------------------------------------------


def filled(graph: Graph, imputer: SimpleImputer, matrix: str) -> str:
    """What is missing (NaN) → the imputer's statistics; its indicators follow the columns."""
    if not (isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)):
        raise NotConvertible("its imputer fills in something else than NaN")
    statistics = np.asarray(imputer.statistics_, dtype=np.float32)
    if np.isnan(statistics).any():
        raise NotConvertible("its imputer drops columns that were empty")
    missing = graph.add("IsNaN", matrix)
    whole = graph.add("Where", missing, graph.constant(statistics.reshape(1, -1)), matrix)
    if imputer.indicator_ is None or not len(imputer.indicator_.features_):
        return whole
    at = graph.constant(imputer.indicator_.features_, np.int64)
    marks = graph.add("Cast", graph.add("Gather", missing, at, axis=1), to=1)
    return graph.concatenated([whole, marks])


def scaled(graph: Graph, scaler: StandardScaler, matrix: str) -> str:
    if scaler.mean_ is not None and scaler.with_mean:
        matrix = graph.add("Sub", matrix, graph.constant(scaler.mean_.reshape(1, -1), np.float32))
    if scaler.scale_ is not None and scaler.with_std:
        matrix = graph.add("Div", matrix, graph.constant(scaler.scale_.reshape(1, -1), np.float32))
    return matrix


def splines(graph: Graph, transformer: SplineTransformer, matrix: str) -> str:
    """Periodic B-splines of each column as the polynomials that they are between two knots (Horner's scheme);
    what is missing is all zeros."""
    if transformer.extrapolation != "periodic" or transformer.handle_missing != "zeros":
        raise NotConvertible("its splines do not recur, or refuse what is missing")
    parts = []
    for i, basis in enumerate(transformer.bsplines_):
        knots = basis.t[basis.k : len(basis.t) - basis.k]
        low, high = knots[0], knots[-1]
        given = graph.add("Gather", matrix, graph.constant([i], np.int64), axis=1)
        missing = graph.add("IsNaN", given)
        x = graph.add("Sub", graph.add("Where", missing, _number(graph, low), given), _number(graph, low))
        periods = graph.add("Floor", graph.add("Div", x, _number(graph, high - low)))
        x = graph.add("Sub", x, graph.add("Mul", periods, _number(graph, high - low)))
        begins = graph.constant((knots[:-1] - low).reshape(1, -1), np.float32)
        passed = graph.add("Cast", graph.add("GreaterOrEqual", x, begins), to=7)
        count = graph.add("ReduceSum", passed, graph.constant([1], np.int64), keepdims=0)
        piece = graph.add("Sub", count, graph.constant(1, np.int64))
        begin = graph.add("Gather", graph.constant(knots[:-1] - low, np.float32), piece)
        x = graph.add("Sub", x, graph.add("Unsqueeze", begin, graph.constant([1], np.int64)))
        columns = slice(None) if transformer.include_bias else slice(-1)
        found = ""
        for power in range(basis.k, -1, -1):
            # Taylor's coefficients at each knot, which describe the piece after it exactly
            coefficients = basis(knots[:-1], nu=power)[:, columns] / math.factorial(power)
            term = graph.add("Gather", graph.constant(coefficients, np.float32), piece, axis=0)
            found = graph.add("Add", graph.add("Mul", found, x), term) if found else term
        parts.append(graph.add("Where", missing, _number(graph, 0), found))
    return graph.concatenated(parts)


def _number(graph: Graph, value: float) -> str:
    return graph.constant(value, np.float32)
