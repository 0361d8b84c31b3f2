"""A graph in the making: nodes and constants of unique names, and models of converters set into it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSETS = {"": 15, "ai.onnx.ml": 3}
"""The newest that onnxmltools 1.16 writes; read by ONNX Runtime 1.10 and later."""
IR_VERSION = 8
"""The version of the file's format that came with these."""

MOST_BYTES = 2**31 - 2**24
"""A protobuf message ends at 2 GiB."""


class Graph:
    """`add` and `constant` answer with the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._numbers = itertools.count()

    def name(self, hint: str) -> str:
        # an input is called as a column, which no user calls like this
        return f"__{hint}_{next(self._numbers)}"

    def constant(self, values: Any, dtype: Any = None) -> str:
        """A tensor of numbers, of truths or of text (object)."""
        name = self.name("constant")
        array = np.asarray(values, dtype=dtype)
        if array.dtype.kind in "OU":
            words: list[Any] = [str(each).encode() for each in array.ravel()]
            made = helper.make_tensor(name, TensorProto.STRING, array.shape, words)
        else:
            made = numpy_helper.from_array(array.copy(order="C"), name)
        self.constants.append(made)
        return name

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One node of one output."""
        name = self.name(kind)
        made = helper.make_node(kind, list(inputs), [name], domain=domain, **attributes)
        self.nodes.append(made)
        return name

    def add_two(self, kind: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """One node of two outputs."""
        first, second = self.name(kind), self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [first, second], **attributes))
        return first, second

    def concatenated(self, parts: Sequence[str]) -> str:
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def include(self, model: ModelProto, given: str, wanted: str) -> str:
        """Set a model of one input into the graph: its input is the tensor `given`, its output `wanted` is
        the answer. What else it computes is left out."""
        names = {model.graph.input[0].name: given, "": ""}

        def ours(name: str) -> str:
            return names.setdefault(name, self.name("part")) if name else ""

        for tensor in model.graph.initializer:
            tensor.name = ours(tensor.name)
            self.constants.append(tensor)
        for node in model.graph.node:
            renamed = NodeProto()
            renamed.CopyFrom(node)
            renamed.ClearField("name")
            del renamed.input[:], renamed.output[:]
            renamed.input.extend(map(ours, node.input))
            renamed.output.extend(map(ours, node.output))
            self.nodes.append(renamed)
        return ours(wanted)

    def model(
        self,
        inputs: Sequence[tuple[str, int, int]],
        outputs: Sequence[tuple[str, str, int, Sequence[Any]]],
        metadata: dict[str, str],
    ) -> ModelProto:
        """`inputs`: name, element type and columns. `outputs`: name, the tensor that is it, its element
        type and its shape."""
        for name, tensor, _, _ in outputs:
            self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        nodes, needed = _needed(self.nodes, {name for name, *_ in outputs})
        made = helper.make_model(
            helper.make_graph(
                nodes,
                "model",
                [helper.make_tensor_value_info(name, kind, ["rows", width]) for name, kind, width in inputs],
                [helper.make_tensor_value_info(name, kind, shape) for name, _, kind, shape in outputs],
                [tensor for tensor in self.constants if tensor.name in needed],
            ),
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
            ir_version=IR_VERSION,
            producer_name="trainyard",
        )
        helper.set_model_props(made, metadata)
        onnx.checker.check_model(made)
        return made


def _needed(nodes: Sequence[NodeProto], outputs: set[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that the outputs depend on, in their order, and the names of all tensors among these."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1], needed
