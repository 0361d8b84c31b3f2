"""Forests and histogram boosting of scikit-learn as one TreeEnsemble.

Written here because skl2onnx 1.20 sends what is missing to the right in every tree of a forest, reads a split
by category as one by number, and takes minutes for a large forest. Array in, array out: a forest of a million
nodes takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from msgspec import Struct
from sklearn.base import is_classifier

from services.trainer.onnx_model.graph import Graph
from shared.errors import NotConvertible

ML = "ai.onnx.ml"
LESS_OR_EQUAL, EQUAL, LEAF = b"BRANCH_LEQ", b"BRANCH_EQ", b"LEAF"

FLOAT_MAX = float(np.finfo(np.float32).max)
MOST_NODES = 4_000_000
"""Some 60 bytes each in the file, which may have 2 GiB, and ten times that while it is made."""


class Tree(Struct):
    """Nodes as arrays (n,). `mode`: one of the three above; `feature`, `value`: what is compared with what;
    `yes`, `no`: the nodes that follow; `missing_yes`: whether NaN counts as yes; `leaf`: (n, outputs), what a
    leaf adds to the outputs from `first_output` on."""

    mode: np.ndarray
    feature: np.ndarray
    value: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    missing_yes: np.ndarray
    leaf: np.ndarray
    first_output: int = 0


def forest(graph: Graph, estimator: Any, matrix: str) -> str:
    """A forest or an extremely randomized one: the mean of its trees (rows, classes or 1)."""
    count = len(estimator.estimators_)
    if estimator.n_outputs_ != 1:
        raise NotConvertible("it has several outputs")
    check_size(each.tree_.node_count for each in estimator.estimators_)
    classifies = is_classifier(estimator)
    trees = [_grown(each.tree_, 1 / count, classifies) for each in estimator.estimators_]
    return ensemble(graph, matrix, trees, len(estimator.classes_) if classifies else 1)


def _grown(tree: Any, weight: float, classifies: bool) -> Tree:
    values = tree.value[:, 0, :]
    if classifies:
        values = values / values.sum(axis=1, keepdims=True)
    is_leaf = tree.children_left < 0
    return Tree(
        mode=np.where(is_leaf, LEAF, LESS_OR_EQUAL),
        feature=np.where(is_leaf, 0, tree.feature),
        value=np.where(is_leaf, 0.0, _float_threshold(tree.threshold)),
        yes=np.where(is_leaf, 0, tree.children_left),
        no=np.where(is_leaf, 0, tree.children_right),
        missing_yes=np.where(is_leaf, 0, tree.missing_go_to_left),
        leaf=values * weight,
    )


def _float_threshold(threshold: np.ndarray) -> np.ndarray:
    """The greatest float32 that is no greater: float32 x ≤ threshold ⇔ x ≤ that."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _decimal_threshold(threshold: np.ndarray) -> np.ndarray:
    """A float32 on whose side every number of nine digits or fewer is as it is on that of `threshold`.

    Thresholds are compared as float64, and lie in the middle between two values: on a table of cents that is
    often a value of another row, or its neighbor among the floats, and both are the same as float32.
    """
    rounded = threshold.astype(np.float32)
    meant = np.array([float(f"{each:.9g}") for each in threshold])
    below = (meant > threshold) & (meant.astype(np.float32) == rounded)
    return np.where(below, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def boosting(graph: Graph, estimator: Any, matrix: str) -> str:
    """Histogram boosting: probabilities (rows, classes) or a prediction (rows, 1)."""
    order, known = _categories(estimator)
    rounds = estimator._predictors
    check_size(len(tree.nodes) for trees in rounds for tree in trees)
    outputs = len(rounds[0]) if rounds else 1
    trees = [
        _boosted(tree, order, known, first_output=output)
        for trees in rounds
        for output, tree in enumerate(trees)
    ]
    raw = graph.add(
        "Add",
        ensemble(graph, matrix, trees, outputs),
        graph.constant(np.reshape(estimator._baseline_prediction, (1, -1)), np.float32),
    )
    link = type(estimator._loss.link).__name__
    if not is_classifier(estimator):
        if link not in ("IdentityLink", "LogLink"):
            raise NotConvertible(f"its loss has a {link}, which is not converted")
        return raw if link == "IdentityLink" else graph.add("Exp", raw)
    if outputs > 1:
        return graph.add("Softmax", raw, axis=1)
    return both(graph, graph.add("Sigmoid", raw))


def both(graph: Graph, positive: str) -> str:
    """Probabilities of the second class (rows, 1) → of both (rows, 2)."""
    return graph.concatenated([graph.add("Sub", graph.constant(1, np.float32), positive), positive])


def _categories(estimator: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Where the model's own columns are in its matrix (it puts those of categories first), and the codes that
    it knows of each."""
    count = estimator.n_features_in_
    is_category = estimator.is_categorical_
    if is_category is None or not is_category.any():
        return np.arange(count), []
    order = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
    codes = [c[~np.isnan(c)] for c in estimator._preprocessor.named_transformers_["encoder"].categories_]
    if any((each != np.arange(len(each))).any() for each in codes):
        raise NotConvertible("it numbers categories in another way than its encoder does")
    return order, codes


def _boosted(predictor: Any, order: np.ndarray, known: list[np.ndarray], first_output: int) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    threshold = nodes["num_threshold"].astype(np.float64)
    tree = Tree(
        mode=np.where(is_leaf, LEAF, LESS_OR_EQUAL),
        feature=np.where(is_leaf, 0, order[np.where(is_leaf, 0, nodes["feature_idx"])]),
        value=np.where(is_leaf, 0.0, _decimal_threshold(np.clip(threshold, -FLOAT_MAX, FLOAT_MAX))),
        yes=np.where(is_leaf, 0, nodes["left"]).astype(np.int64),
        no=np.where(is_leaf, 0, nodes["right"]).astype(np.int64),
        missing_yes=np.where(is_leaf, 0, nodes["missing_go_to_left"]),
        leaf=np.where(is_leaf, nodes["value"], 0.0).reshape(-1, 1),
        first_output=first_output,
    )
    by_category = np.flatnonzero(nodes["is_categorical"] & ~is_leaf)
    return (
        _by_category(tree, nodes, by_category, predictor.raw_left_cat_bitsets, known)
        if len(by_category)
        else tree
    )


def _by_category(
    tree: Tree, nodes: np.ndarray, splits: np.ndarray, bitsets: np.ndarray, known: list[np.ndarray]
) -> Tree:
    """A split "is it one of these?" as a chain of "is it this?", all of which lead to the same node."""
    extra: list[tuple[int, float, int, int]] = []  # feature, value, yes, no
    size = len(nodes)
    for at in splits:
        node = nodes[at]
        members = known[node["feature_idx"]]
        bits = bitsets[node["bitset_idx"]]
        codes = members.astype(np.int64)
        goes_left = (bits[codes // 32] >> (codes % 32).astype(np.uint32)) & 1 == 1
        left, right = int(node["left"]), int(node["right"])
        # what is missing goes where the chain ends, so the chain asks for those that go elsewhere
        asked, yes, no = (
            (codes[~goes_left], right, left)
            if node["missing_go_to_left"]
            else (codes[goes_left], left, right)
        )
        chain = [at, *range(size + len(extra), size + len(extra) + max(0, len(asked) - 1))]
        tree.mode[at], tree.missing_yes[at] = EQUAL, 0
        tree.yes[at], tree.no[at], tree.value[at] = yes, no, -1.0  # no code is that: always no
        for place, code in zip(chain, asked, strict=False):
            follows = no if place == chain[-1] else (chain[1] if place == at else place + 1)
            if place == at:
                tree.value[at], tree.no[at] = code, follows
            else:
                extra.append((int(tree.feature[at]), float(code), yes, follows))
    feature, value, yes_nodes, no_nodes = (
        (np.array(each) for each in zip(*extra, strict=True)) if extra else ([],) * 4
    )
    more = len(extra)
    return Tree(
        mode=np.concatenate([tree.mode, np.full(more, EQUAL)]),
        feature=np.concatenate([tree.feature, feature]).astype(np.int64),
        value=np.concatenate([tree.value, value]),
        yes=np.concatenate([tree.yes, yes_nodes]).astype(np.int64),
        no=np.concatenate([tree.no, no_nodes]).astype(np.int64),
        missing_yes=np.concatenate([tree.missing_yes, np.zeros(more)]),
        leaf=np.concatenate([tree.leaf, np.zeros((more, tree.leaf.shape[1]))]),
        first_output=tree.first_output,
    )


def ensemble(graph: Graph, matrix: str, trees: list[Tree], outputs: int) -> str:
    """The sum of all leaves reached, (rows, outputs)."""
    ids = [np.full(len(tree.mode), number) for number, tree in enumerate(trees)]
    places = [np.arange(len(tree.mode)) for tree in trees]
    leaves = [np.flatnonzero(tree.mode == LEAF) for tree in trees]
    widths = [tree.leaf.shape[1] for tree in trees]

    def ints(parts: Iterable[np.ndarray]) -> list[int]:
        made: list[int] = np.concatenate(list(parts)).astype(np.int64).tolist()
        return made

    return graph.add(
        "TreeEnsembleRegressor",
        matrix,
        domain=ML,
        n_targets=outputs,
        nodes_treeids=ints(ids),
        nodes_nodeids=ints(places),
        nodes_featureids=ints(tree.feature for tree in trees),
        nodes_modes=np.concatenate([tree.mode for tree in trees]).tolist(),
        nodes_values=np.concatenate([tree.value for tree in trees]).astype(np.float32).tolist(),
        nodes_truenodeids=ints(tree.yes for tree in trees),
        nodes_falsenodeids=ints(tree.no for tree in trees),
        nodes_missing_value_tracks_true=ints(tree.missing_yes for tree in trees),
        target_treeids=ints(
            np.full(len(at) * w, n) for n, (at, w) in enumerate(zip(leaves, widths, strict=True))
        ),
        target_nodeids=ints(np.repeat(at, w) for at, w in zip(leaves, widths, strict=True)),
        target_ids=ints(
            np.tile(np.arange(w) + tree.first_output, len(at))
            for tree, at, w in zip(trees, leaves, widths, strict=True)
        ),
        target_weights=np.concatenate([tree.leaf[at].ravel() for tree, at in zip(trees, leaves, strict=True)])
        .astype(np.float32)
        .tolist(),
    )


def check_size(nodes: Iterable[int]) -> None:
    if (count := sum(nodes)) > MOST_NODES:
        raise NotConvertible(f"its trees have {count:,} nodes, and a file holds {MOST_NODES:,}")
