"""CatBoost's trees as a TreeEnsemble, and the statistics of its categories as lookups.

CatBoost writes ONNX itself only of models on numbers alone. It also has all that a model knows as JSON, the
meaning of which is told by the applier that it writes in Python (`save_model(format="python")`): a category,
or several together with splits of numbers, is hashed to a count of the targets that came with it, and the
count becomes a number that trees compare.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.base import is_classifier

from services.trainer.onnx_model.graph import Graph
from services.trainer.onnx_model.trees import (
    EQUAL,
    LEAF,
    LESS_OR_EQUAL,
    ML,
    Tree,
    both,
    check_size,
    ensemble,
)
from services.trainer.prepare import NATIVE_LIMIT
from shared.errors import NotConvertible

LOSSES = frozenset({"Logloss", "MultiClass", "RMSE", "MAE"})
CODES = np.arange(-1, NATIVE_LIMIT)
"""What a column of categories may hold (`prepare._codes`, and -1 for what is missing or was never seen)."""
RADIX = len(CODES)
MOST_COMBINED = 4_000_000
"""Of categories and splits that are counted together, how many combinations are looked through."""
MULTIPLIER = np.uint64(0x4906BA494954CB65)


class Counts(Struct):
    """One combination that is counted. `keys`: those that training had, (n,) in `RADIX`; `values`: what each
    gives its columns, (n + 1, columns), the last row for all others."""

    elements: list[dict[str, Any]]
    keys: np.ndarray
    values: np.ndarray


class Splits(Struct):
    """By the number that the trees give a split: the column of the matrix, the kind of comparison, its value,
    and whether what is missing is told yes; all (splits,)."""

    column: np.ndarray
    mode: np.ndarray
    value: np.ndarray
    missing_yes: np.ndarray


def boosting(graph: Graph, estimator: Any, matrix: str) -> str:
    """Probabilities (rows, classes) or a prediction (rows, 1). Raises NotConvertible."""
    known = written(estimator)
    if "oblivious_trees" not in known or estimator.get_all_params()["loss_function"] not in LOSSES:
        raise NotConvertible("its trees or its loss are not of CatBoost's usual kind")
    check_size(2 ** (len(each["splits"] or []) + 1) for each in known["oblivious_trees"])
    features = known["features_info"]
    places = {
        kind: {each["feature_index"]: each["flat_feature_index"] for each in features.get(kind) or []}
        for kind in ("float_features", "categorical_features")
    }
    hashes = {int(each["value"]): _signed(each["hash"]) for each in features.get("cat_features_hash") or []}
    domains = _domains(features, known.get("ctr_data", {}), hashes)
    counted = [
        _counts(list(same), known["ctr_data"], hashes, domains)
        for _, same in itertools.groupby(features.get("ctrs") or [], key=lambda ctr: ctr["elements"])
    ]
    columns = [matrix, *(_looked_up(graph, each, matrix, places, hashes) for each in counted)]
    # `n_features_in_` is not kept in a pickle
    splits = _splits(features, places, hashes, len(estimator.feature_names_))
    scale, bias = known["scale_and_bias"]
    trees = [_tree(each, splits, scale, len(bias)) for each in known["oblivious_trees"]]
    raw = graph.add(
        "Add",
        ensemble(graph, graph.concatenated(columns), trees, len(bias)),
        graph.constant(np.reshape(bias, (1, -1)), np.float32),
    )
    if not is_classifier(estimator):
        return raw
    if len(bias) > 1:
        return graph.add("Softmax", raw, axis=1)
    return both(graph, graph.add("Sigmoid", raw))


def written(estimator: Any) -> dict[str, Any]:
    """The model as JSON, with the hash of every code that a category may have."""
    from catboost import Pool

    names = estimator.feature_names_
    categories = estimator.get_cat_feature_indices()
    pool = None
    if categories:
        every = {name: CODES if at in categories else np.zeros(RADIX) for at, name in enumerate(names)}
        pool = Pool(pd.DataFrame(every), cat_features=categories)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        estimator.save_model(str(path), format="json", pool=pool)
        known: dict[str, Any] = json.loads(path.read_bytes())
    return known


def _signed(value: int) -> int:
    """A hash is 32 bits; they count as a signed number."""
    return (value & 0xFFFFFFFF) - (value >> 31 & 1) * 2**32


# --- categories ---------------------------------------------------------------------------------


def _domains(features: dict[str, Any], data: dict[str, Any], hashes: dict[int, int]) -> dict[int, np.ndarray]:
    """The codes that training had of a feature, where they are counted by themselves, too."""
    if not hashes:
        return {}
    of_code = np.array([hashes[int(code)] for code in CODES]).astype(np.uint64)
    alone = MULTIPLIER * (MULTIPLIER * of_code)
    known = {}
    for ctr in features.get("ctrs") or []:
        first = ctr["elements"][0]
        if len(ctr["elements"]) == 1 and first["combination_element"] == "cat_feature_value":
            table = data[ctr["identifier"]]
            entries = np.array(table["hash_map"][:: table["hash_stride"]], dtype=np.uint64)
            known[first["cat_feature_index"]] = CODES[np.isin(alone, entries)]
    return known


def _counts(
    ctrs: list[dict[str, Any]], data: dict[str, Any], hashes: dict[int, int], domains: dict[int, np.ndarray]
) -> Counts:
    """`ctrs`: those of one combination; each is a column."""
    elements = ctrs[0]["elements"]
    keys, hashed = _every(elements, hashes, domains)
    found = np.zeros(len(keys), dtype=bool)
    columns = []
    for ctr in ctrs:
        table = data[ctr["identifier"]]
        stride = table["hash_stride"]
        entries = np.array(table["hash_map"][::stride], dtype=np.uint64)
        order = np.argsort(entries)
        row = order[np.minimum(np.searchsorted(entries, hashed, sorter=order), len(entries) - 1)]
        there = entries[row] == hashed
        found |= there
        counts = np.array([table["hash_map"][at::stride] for at in range(1, stride)], dtype=np.float32)
        good, total, nothing = _good_of(ctr, counts, np.float32(table["counter_denominator"]))
        empty = _value(ctr, np.float32(0), nothing)
        columns.append(np.append(np.where(there, _value(ctr, good[row], total[row]), empty), empty))
    values = np.column_stack(columns).astype(np.float32)
    return Counts(elements, keys[found], values[np.append(found, True)])


def _every(
    elements: list[dict[str, Any]], hashes: dict[int, int], domains: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """All combinations there can be: their keys, as a graph computes them, and CatBoost's hashes of them."""
    digits, hashes_of = [], []
    for each in elements:
        if each["combination_element"] == "cat_feature_value":
            codes = domains.get(each["cat_feature_index"], CODES)
            digits.append(codes - CODES[0])
            hashes_of.append(np.array([hashes[int(code)] for code in codes]).astype(np.uint64))
        else:
            digits.append(np.arange(2))
            hashes_of.append(np.arange(2, dtype=np.uint64))
    if (count := math.prod(map(len, digits))) > MOST_COMBINED:
        raise NotConvertible(f"it counts {len(elements)} columns together, {count:,} combinations")
    keys, hashed = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.uint64)
    for digit, more in zip(digits, hashes_of, strict=True):
        keys = np.add.outer(keys * RADIX, digit).ravel()
        hashed = (MULTIPLIER * np.add.outer(hashed, MULTIPLIER * more)).ravel()
    return keys, hashed


def _good_of(
    ctr: dict[str, Any], counts: np.ndarray, denominator: np.float32
) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Of each entry what is counted and of how many, and of how many where there is no entry. `counts`:
    (classes, entries)."""
    kind, border = ctr["ctr_type"], ctr["target_border_idx"]
    if kind in ("Counter", "FeatureFreq"):
        return counts[0], np.full(counts.shape[1], denominator), denominator
    total = counts.sum(axis=0)
    if kind == "Buckets":
        return counts[border], total, np.float32(0)
    if kind == "Borders":
        return counts[border + 1 :].sum(axis=0), total, np.float32(0)
    raise NotConvertible(f"it counts categories by {kind}, which is not converted")


def _value(ctr: dict[str, Any], good: Any, total: Any) -> Any:
    """In float32, as CatBoost does: values often are just where trees compare."""
    prior, denominator, shift, scale = (
        np.float32(ctr[name]) for name in ("prior_numerator", "prior_denomerator", "shift", "scale")
    )
    return ((good + prior) / (total + denominator) + shift) * scale


def _looked_up(
    graph: Graph, counts: Counts, matrix: str, places: dict[str, dict[int, int]], hashes: dict[int, int]
) -> str:
    """A row's combination → its columns."""
    code_of = {known: code for code, known in hashes.items()}
    key = ""
    for each in counts.elements:
        kind = each["combination_element"]
        if kind == "float_feature":
            at = places["float_features"][each["float_feature_index"]]
        else:
            at = places["categorical_features"][each["cat_feature_index"]]
        given = graph.add("Gather", matrix, graph.constant([at], np.int64), axis=1)
        if kind == "cat_feature_value":
            part = graph.add("Add", graph.add("Cast", given, to=7), graph.constant(1, np.int64))
        elif kind == "float_feature":
            part = graph.add("Cast", graph.add("Greater", given, _number(graph, each["border"])), to=7)
        else:
            code = code_of.get(_signed(each["value"]), -2)  # of a category that is not there: never
            part = graph.add("Cast", graph.add("Equal", given, _number(graph, code)), to=7)
        if key:
            part = graph.add("Add", graph.add("Mul", key, graph.constant(RADIX, np.int64)), part)
        key = part
    index = graph.add(
        "LabelEncoder",
        graph.add("Reshape", key, graph.constant([-1], np.int64)),
        domain=ML,
        keys_int64s=counts.keys.tolist(),
        values_int64s=list(range(len(counts.keys))),
        default_int64=len(counts.keys),
    )
    return graph.add("Gather", graph.constant(counts.values), index, axis=0)


def _number(graph: Graph, value: float) -> str:
    return graph.constant(value, np.float32)


# --- trees --------------------------------------------------------------------------------------


def _splits(
    features: dict[str, Any], places: dict[str, dict[int, int]], hashes: dict[int, int], width: int
) -> Splits:
    """`width`: of the matrix, behind which what was counted follows."""
    code_of = {known: code for code, known in hashes.items()}

    def every() -> Iterator[tuple[int, bytes, float, bool]]:
        for each in features.get("float_features") or []:
            column = places["float_features"][each["feature_index"]]
            no = each["nan_value_treatment"] == "AsTrue"
            yield from ((column, LESS_OR_EQUAL, border, not no) for border in each.get("borders") or [])
        for each in features.get("categorical_features") or []:
            column = places["categorical_features"][each["feature_index"]]
            for value in each.get("values") or []:
                yield column, EQUAL, code_of.get(_signed(value), -2), False
        for column, ctr in enumerate(features.get("ctrs") or [], width):
            yield from ((column, LESS_OR_EQUAL, border, True) for border in ctr["borders"])

    found = list(every())
    column, mode, value, missing_yes = zip(*found, strict=True) if found else ((), (), (), ())
    return Splits(np.array(column), np.array(mode), np.array(value), np.array(missing_yes))


def _tree(written: dict[str, Any], splits: Splits, scale: float, outputs: int) -> Tree:
    """A level asks the same everywhere, so node `2**level - 1 + path` is reached by the answers in `path`,
    of which the first split's is the lowest bit."""
    asked = [each["split_index"] for each in written["splits"] or []]
    depth = len(asked)
    split = np.concatenate([np.full(2**level, at) for level, at in enumerate(asked)] + [np.zeros(0)])
    split = split.astype(np.int64)
    level = np.repeat(np.arange(depth), 2 ** np.arange(depth))
    path = np.arange(2**depth - 1) - (2**level - 1)
    zero = 2 ** (level + 1) - 1 + path
    one = zero + 2**level
    equal = splits.mode[split] == EQUAL if depth else np.zeros(0, dtype=bool)
    leaves = 2**depth

    def and_leaves(inner: Any, value: Any) -> np.ndarray:
        return np.concatenate([np.asarray(inner)[: leaves - 1], np.full(leaves, value)])

    known = depth > 0
    return Tree(
        mode=and_leaves(splits.mode[split] if known else np.zeros(0, dtype="S10"), LEAF),
        feature=and_leaves(splits.column[split] if known else [], 0),
        value=and_leaves(splits.value[split] if known else [], 0.0),
        yes=and_leaves(np.where(equal, one, zero), 0),
        no=and_leaves(np.where(equal, zero, one), 0),
        missing_yes=and_leaves(splits.missing_yes[split] if known else [], 0),
        leaf=np.concatenate(
            [
                np.zeros((leaves - 1, outputs)),
                scale * np.reshape(written["leaf_values"], (leaves, outputs)),
            ]
        ),
    )
