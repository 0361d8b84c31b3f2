"""How a table's columns are made ready for a graph: calls of pandas and numpy, written down as JSON.

Pipelines begin with `FunctionTransformer`s of public functions of pandas and numpy
(`services.trainer.prepare`), which ONNX has no operators for. They are taken out of the pipeline, recorded
by name with their arguments, and made again from that record, here and in a run's `predict.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.preprocessing import FunctionTransformer

from shared.errors import NotConvertible

CALLS: dict[str, Callable[..., Any]] = {
    "numpy.asarray": np.asarray,
    "numpy.clip": np.clip,
    "numpy.column_stack": np.column_stack,
    "numpy.dot": np.dot,
    "numpy.nan_to_num": np.nan_to_num,
    "numpy.ravel": np.ravel,
    "numpy.reshape": np.reshape,
    "pandas.DataFrame.apply": pd.DataFrame.apply,
    "pandas.DataFrame.astype": pd.DataFrame.astype,
    "pandas.DataFrame.convert_dtypes": pd.DataFrame.convert_dtypes,
    "pandas.DataFrame.fillna": pd.DataFrame.fillna,
    "pandas.DataFrame.infer_objects": pd.DataFrame.infer_objects,
    "pandas.DataFrame.map": pd.DataFrame.map,
    "pandas.DataFrame.replace": pd.DataFrame.replace,
    "pandas.DataFrame.to_numpy": pd.DataFrame.to_numpy,
    "pandas.to_datetime": pd.to_datetime,
    "pandas.to_numeric": pd.to_numeric,
    "str.casefold": str.casefold,
    "str.strip": str.strip,
}
"""All that a record may name. Opening a graph must not come to running whatever it says: nothing here reads,
writes or evaluates anything."""
PARTS = "operator.attrgetter"
"""The one call that is made by an argument: parts of a time (`dt.…`), by their names."""


class Step(Struct):
    """One call, on what the one before answered. `arguments` is as JSON has it, save that a function is
    `{"call": name}`, a number that JSON lacks `{"float": "nan"}` and an array `{"array": …}`."""

    call: str
    arguments: dict[str, Any]


class Block(Struct, kw_only=True):
    """Columns of the table that are cleaned together, and the graph's inputs that come of it: one a column of
    what `steps` answer, (rows, 1), or a single one for them all, (rows, `width`).

    `single`: the steps are given a Series, the only one of `columns`, and not a DataFrame.
    """

    columns: list[str]
    single: bool
    steps: list[Step]
    type: Literal["float", "string"]
    width: int
    inputs: list[str]


def step(transformer: FunctionTransformer) -> Step | None:
    """The record of one transformer; None for one that does nothing. Raises NotConvertible."""
    function = transformer.func
    if function is None:
        return None
    if isinstance(function, operator.attrgetter):
        names = list(function.__reduce__()[1])
        if not all(name.startswith("dt.") for name in names):
            raise NotConvertible(f"its table is cleaned by {function!r}, which is not recorded")
        return Step(PARTS, {"names": names})
    arguments = {key: _plain(value) for key, value in (transformer.kw_args or {}).items()}
    return Step(_named(function), arguments)


def feeds(blocks: Sequence[Block], table: pd.DataFrame) -> dict[str, np.ndarray]:
    """What a session is run with: input's name → (rows, 1) or (rows, width), float32 or text."""
    made = {}
    for block in blocks:
        values: Any = table[block.columns[0] if block.single else block.columns]
        for each in block.steps:
            values = _called(each, values)
        matrix = np.asarray(values, dtype=object if block.type == "string" else np.float32)
        matrix = matrix.reshape(len(table), block.width)
        if len(block.inputs) == 1:
            made[block.inputs[0]] = matrix
        else:
            made |= {name: matrix[:, [at]] for at, name in enumerate(block.inputs)}
    return made


def _called(each: Step, values: Any) -> Any:
    if each.call == PARTS:
        return operator.attrgetter(*each.arguments["names"])(values)
    return CALLS[each.call](values, **{key: _value(value) for key, value in each.arguments.items()})


def _named(function: Any) -> str:
    for name, call in CALLS.items():
        if call is function:
            return name
    named = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
    raise NotConvertible(f"its table is cleaned by {named}, which is not recorded")


def _plain(value: Any) -> Any:
    if value is object:
        return "object"
    if isinstance(value, type):
        return np.dtype(value).name
    if callable(value):
        return {"call": _named(value)}
    if isinstance(value, np.ndarray):
        return {"array": _plain(value.tolist())}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise NotConvertible(f"its table is cleaned with {type(value).__name__}, which is not recorded")


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        if "call" in value:
            return CALLS[value["call"]]
        return np.array(_value(value["array"])) if "array" in value else float(value["float"])
    if isinstance(value, list):
        return [_value(each) for each in value]
    return value
