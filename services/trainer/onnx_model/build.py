"""A fitted model → its ONNX file, and the table's columns that it takes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from onnx import ModelProto, TensorProto
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator

from services.trainer.onnx_model.cleaning import Block
from services.trainer.onnx_model.estimators import Table, Thresholds, answer
from services.trainer.onnx_model.graph import Graph
from shared.errors import NotConvertible

CLASSES_KEY = "trainyard.classes"
ELEMENTS = {"float": TensorProto.FLOAT, "string": TensorProto.STRING}
BLOCKS_KEY = "trainyard.inputs"
"""The key in a file's metadata under which its inputs and their cleaning stand, as JSON: a list of
`Block`."""


class Built(Struct):
    model: ModelProto
    blocks: list[Block]


def build(model: Any) -> Built:
    """The model as a graph: `label` (rows,) and `probabilities` (rows, classes) in the order of `classes_`,
    or `prediction` (rows,). Raises NotConvertible with the reason."""
    graph, table = Graph(), Table([])
    found = answer(graph, model, table)
    rows: list[Any] = ["rows"]
    if is_classifier(model):
        labels = np.asarray(model.classes_)
        element, values = _labels(labels)
        chosen = graph.add("Gather", graph.constant(values), _chosen(graph, model, found))
        outputs = [
            ("label", chosen, element, rows),
            ("probabilities", found, TensorProto.FLOAT, [*rows, len(labels)]),
        ]
    else:
        flat = graph.add("Reshape", found, graph.constant([-1], np.int64))
        outputs = [("prediction", flat, TensorProto.FLOAT, rows)]
    metadata = {BLOCKS_KEY: msgspec.json.encode(table.blocks).decode()}
    if is_classifier(model):
        metadata[CLASSES_KEY] = msgspec.json.encode(np.asarray(model.classes_).tolist()).decode()
    inputs = [
        (name, ELEMENTS[block.type], 1 if len(block.inputs) > 1 else block.width)
        for block in table.blocks
        for name in block.inputs
    ]
    return Built(graph.model(inputs, outputs, metadata), table.blocks)


def margin(model: Any, probabilities: np.ndarray) -> np.ndarray:
    """How far (rows, classes) are from another answer: (rows,)."""
    if (by_threshold := _thresholded(model)) is not None:
        distance: np.ndarray = np.abs(probabilities[:, _positive(by_threshold)] - _threshold(by_threshold))
        return distance
    ordered = np.sort(probabilities, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def _thresholded(model: Any) -> Any | None:
    """The estimator that holds a threshold, where there is one."""
    while isinstance(model, FrozenEstimator):
        model = model.estimator
    return model if isinstance(model, Thresholds) else None


def _chosen(graph: Graph, model: Any, probabilities: str) -> str:
    """The place of the predicted class in each row."""
    by_threshold = _thresholded(model)
    if by_threshold is None:
        return graph.add("ArgMax", probabilities, axis=1, keepdims=0)
    positive = _positive(by_threshold)
    column = graph.add("Gather", probabilities, graph.constant(positive, np.int64), axis=1)
    above = graph.add("GreaterOrEqual", column, graph.constant(_threshold(by_threshold), np.float32))
    return graph.add(
        "Where", above, graph.constant(positive, np.int64), graph.constant(1 - positive, np.int64)
    )


def _threshold(model: Any) -> float:
    if getattr(model, "response_method", "auto") == "decision_function":
        raise NotConvertible("its threshold is not one of probabilities")
    threshold = getattr(model, "best_threshold_", None)
    if threshold is None:
        threshold = 0.5 if model.threshold == "auto" else model.threshold
    return float(threshold)


def _positive(model: Any) -> int:
    positive = getattr(model, "pos_label", None)
    return 1 if positive is None else list(model.classes_).index(positive)


def _labels(labels: np.ndarray) -> tuple[int, np.ndarray]:
    if labels.dtype.kind in "OU":
        if not all(isinstance(label, str) for label in labels):
            raise NotConvertible("its labels are of several kinds")
        return TensorProto.STRING, labels.astype(object)
    if labels.dtype.kind in "iu":
        return TensorProto.INT64, labels.astype(np.int64)
    if labels.dtype.kind == "b":
        return TensorProto.BOOL, labels
    return TensorProto.DOUBLE, labels.astype(np.float64)
