"""Run a model's graph (.onnx) on a table as it was uploaded. `predict.py --model best_model.onnx` uses it.

    graph = Graph("best_model.onnx")
    graph.predict(pandas.read_csv("table.csv"))

It needs onnxruntime, pandas and numpy. A graph takes a table's columns after they were cleaned, one input a
column (rows, 1): numbers as float32, missing as NaN, everything else as text, missing as "". How each is
cleaned stands in the file's metadata under `trainyard.inputs`: calls of pandas and numpy, made one after
another on the columns that are named there. Other languages do the same with what they have, or send cells
that are clean.
"""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import pandas

CALLS = {
    "numpy.asarray": numpy.asarray,
    "numpy.clip": numpy.clip,
    "numpy.column_stack": numpy.column_stack,
    "numpy.dot": numpy.dot,
    "numpy.nan_to_num": numpy.nan_to_num,
    "numpy.ravel": numpy.ravel,
    "numpy.reshape": numpy.reshape,
    "pandas.DataFrame.apply": pandas.DataFrame.apply,
    "pandas.DataFrame.astype": pandas.DataFrame.astype,
    "pandas.DataFrame.convert_dtypes": pandas.DataFrame.convert_dtypes,
    "pandas.DataFrame.fillna": pandas.DataFrame.fillna,
    "pandas.DataFrame.infer_objects": pandas.DataFrame.infer_objects,
    "pandas.DataFrame.map": pandas.DataFrame.map,
    "pandas.DataFrame.replace": pandas.DataFrame.replace,
    "pandas.DataFrame.to_numpy": pandas.DataFrame.to_numpy,
    "pandas.to_datetime": pandas.to_datetime,
    "pandas.to_numeric": pandas.to_numeric,
    "str.casefold": str.casefold,
    "str.strip": str.strip,
}
"""All that a file may ask for. None of it reads, writes or runs anything: a graph is no program."""


class Graph:
    """What answers as the pickle does: `predict`, and `predict_proba` and `classes_` of a classifier."""

    def __init__(self, path: str | Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        known = self.session.get_modelmeta().custom_metadata_map
        self.blocks = json.loads(known["trainyard.inputs"])
        self.classes_ = json.loads(known.get("trainyard.classes", "[]"))

    def predict(self, table: pandas.DataFrame) -> Any:
        """(rows,): labels as the table has them, or numbers."""
        first = self.session.get_outputs()[0].name
        return self.session.run([first], self.inputs(table))[0]

    def predict_proba(self, table: pandas.DataFrame) -> Any:
        """(rows, classes), in the order of `classes_`."""
        return self.session.run(["probabilities"], self.inputs(table))[0]

    def inputs(self, table: pandas.DataFrame) -> dict[str, Any]:
        """Input's name → its tensor."""
        made = {}
        for block in self.blocks:
            values: Any = table[block["columns"][0] if block["single"] else block["columns"]]
            for step in block["steps"]:
                values = called(step, values)
            dtype = object if block["type"] == "string" else numpy.float32
            matrix = numpy.asarray(values, dtype=dtype).reshape(len(table), block["width"])
            if len(block["inputs"]) == 1:
                made[block["inputs"][0]] = matrix
            else:
                made |= {name: matrix[:, [at]] for at, name in enumerate(block["inputs"])}
        return made


def called(step: dict[str, Any], values: Any) -> Any:
    arguments = {name: value(given) for name, given in step["arguments"].items()}
    if step["call"] == "operator.attrgetter":
        if not all(name.startswith("dt.") for name in arguments["names"]):
            raise ValueError(f"not parts of a time: {arguments['names']}")
        return operator.attrgetter(*arguments["names"])(values)
    return CALLS[step["call"]](values, **arguments)


def value(given: Any) -> Any:
    """What JSON stands for."""
    if isinstance(given, dict):
        if "call" in given:
            return CALLS[given["call"]]
        return numpy.array(value(given["array"])) if "array" in given else float(given["float"])
    return [value(each) for each in given] if isinstance(given, list) else given
