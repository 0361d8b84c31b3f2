"""Nearest neighbors as nodes: skl2onnx 1.20 measures distances in float32, and picks others where two are
close."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.base import is_classifier

from services.trainer.onnx_model.graph import Graph
from shared.errors import NotConvertible

SAME = 1e-10
"""A squared distance (float64, of columns of unit variance) below which a row is one of the model's own."""


def neighbors(graph: Graph, estimator: Any, matrix: str) -> str:
    """Probabilities (rows, classes) or a prediction (rows, 1); it holds the rows that the model was fitted
    on."""
    metric = estimator.effective_metric_
    if metric not in ("euclidean", "manhattan") or estimator.weights not in ("uniform", "distance"):
        raise NotConvertible("its distances are weighed in a way that is not converted")
    if estimator._y.ndim > 1 and estimator._y.shape[1] > 1:
        raise NotConvertible("it has several outputs")
    own = np.asarray(estimator._fit_X, dtype=np.float64)
    given = graph.add("Cast", matrix, to=TensorProto.DOUBLE)
    distances = _squared(graph, given, own) if metric == "euclidean" else _manhattan(graph, given, own)
    nearest, places = graph.add_two(
        "TopK", distances, graph.constant([estimator.n_neighbors], np.int64), largest=0, axis=1
    )
    if metric == "manhattan":
        nearest = graph.add("Mul", nearest, nearest)
    answers = estimator._y.ravel()
    known = np.eye(len(estimator.classes_))[answers] if is_classifier(estimator) else answers.reshape(-1, 1)
    weights = _weights(graph, nearest, estimator.weights)
    found = graph.add("Gather", graph.constant(known.astype(np.float64)), places, axis=0)
    weighed = graph.add("Mul", found, graph.add("Unsqueeze", weights, graph.constant([2], np.int64)))
    total = graph.add("ReduceSum", weights, graph.constant([1], np.int64), keepdims=1)
    answer = graph.add(
        "Div", graph.add("ReduceSum", weighed, graph.constant([1], np.int64), keepdims=0), total
    )
    return graph.add("Cast", answer, to=TensorProto.FLOAT)


def _squared(graph: Graph, given: str, own: np.ndarray) -> str:
    """Of each row to each of the model's own, squared: (rows, own)."""
    squares = graph.add(
        "ReduceSum", graph.add("Mul", given, given), graph.constant([1], np.int64), keepdims=1
    )
    products = graph.add("MatMul", given, graph.constant(-2 * own.T))
    return graph.add("Sum", squares, products, graph.constant((own**2).sum(axis=1).reshape(1, -1)))


def _manhattan(graph: Graph, given: str, own: np.ndarray) -> str:
    """(rows, own), added up column by column: all at once would take as much memory for each of them."""
    total = ""
    for at in range(own.shape[1]):
        column = graph.add("Gather", given, graph.constant([at], np.int64), axis=1)
        part = graph.add("Abs", graph.add("Sub", column, graph.constant(own[:, at].reshape(1, -1))))
        total = graph.add("Add", total, part) if total else part
    return total


def _weights(graph: Graph, squared: str, kind: str) -> str:
    """Of each neighbor (rows, k): by the inverse of its distance; where some are the row itself, they
    alone."""
    if kind == "uniform":
        return graph.add("Add", graph.add("Sub", squared, squared), graph.constant(1.0))
    same = graph.add("LessOrEqual", squared, graph.constant(SAME))
    marked = graph.add("Cast", same, to=TensorProto.DOUBLE)
    any_same = graph.add("Greater", graph.add("ReduceMax", marked, axes=[1], keepdims=1), graph.constant(0.0))
    inverse = graph.add("Reciprocal", graph.add("Sqrt", graph.add("Max", squared, graph.constant(SAME))))
    return graph.add("Where", any_same, marked, inverse)
