"""A model as ONNX, left beside the job in a child: good only where it predicts what the pickle does."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from services.trainer import loading, table_rows
from services.trainer.onnx_model.build import Built, build
from services.trainer.onnx_model.graph import MOST_BYTES, OPSETS
from services.trainer.onnx_model.parity import compare
from services.trainer.outcome import ONNX_FILE, ConvertedOnnx, Progress
from shared.contracts.downloads import OnnxFacts, OnnxTensor
from shared.contracts.training import Plan
from shared.errors import NotConvertible

ELEMENTS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float",
    onnx.TensorProto.DOUBLE: "double",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.STRING: "string",
}


def convert(
    source: Path, sha256: str, table: Path, plan: Plan, scratch: Path, progress: Progress
) -> ConvertedOnnx:
    """Open the pickle, write it as `ONNX_FILE` into `scratch`, and compare what both predict for the plan's
    held-out rows. Raises NotConvertible with the reason, StorageCorrupt for another file."""
    progress(0.0, "Opening the model")
    model = loading.verified(source, sha256)
    progress(0.2, "Converting")
    built = build(model)
    size = built.model.ByteSize()
    if size > MOST_BYTES:
        raise NotConvertible(f"it would have {size / 2**30:.1f} GiB, and a file of ONNX has 2 at most")
    content: bytes = built.model.SerializeToString()
    progress(0.6, "Comparing what it predicts")
    rows, _ = table_rows.read(table, plan)
    parity = compare(model, built, content, rows.features.iloc[rows.test])
    (scratch / ONNX_FILE).write_bytes(content)
    facts = OnnxFacts(
        opset=OPSETS[""],
        ml_opset=OPSETS["ai.onnx.ml"],
        inputs=_inputs(built),
        outputs=[_tensor(value) for value in built.model.graph.output],
        parity=parity,
    )
    return ConvertedOnnx(facts, [f"onnxruntime=={onnxruntime.__version__}"])


def _inputs(built: Built) -> list[OnnxTensor]:
    columns = {
        name: [block.columns[at]] if len(block.columns) == len(block.inputs) else block.columns
        for block in built.blocks
        for at, name in enumerate(block.inputs)
    }
    return [_tensor(value, columns[value.name]) for value in built.model.graph.input]


def _tensor(value: onnx.ValueInfoProto, columns: list[str] | None = None) -> OnnxTensor:
    kind = value.type.tensor_type
    shape = [size.dim_value or None for size in kind.shape.dim]
    made = OnnxTensor(name=value.name, type=ELEMENTS[kind.elem_type], shape=shape)
    if columns is not None:
        made.columns = columns
    return made
