"""What is taken home: ZIPs, links, models in other formats."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from shared.contracts.states import BundleStatus, ConversionFormat, ConversionStatus, TaskType


class Bundle(Struct, kw_only=True):
    status: BundleStatus
    progress: float
    size_bytes: int | UnsetType = UNSET
    expires_at: dt.datetime | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Link(Struct, kw_only=True):
    """What a file download answers to a client that asks for JSON. `sha256` is left out of a ZIP that the
    store put together itself: SHA256SUMS in it has that of every member. `types`, of a .skops: what
    `skops.io.load` has to be told to trust."""

    url: str
    filename: str
    size_bytes: int
    expires_at: dt.datetime
    sha256: str | UnsetType = UNSET
    types: list[str] | UnsetType = UNSET


NOT_SCIKIT_LEARN: dict[str, str] = {"xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost"}
"""Slugs of models that are another library's, which no .skops is made of."""


def not_skops(task_type: TaskType, slug: str) -> str | None:
    """Why a model cannot be had as .skops, as far as its name tells; None where it probably can."""
    if task_type == TaskType.TIME_SERIES:
        return "Models of time series are not scikit-learn's and cannot be had as .skops; take the pickle"
    if slug in NOT_SCIKIT_LEARN:
        name = NOT_SCIKIT_LEARN[slug]
        return f"This model is {name}'s and not scikit-learn's, and cannot be had as .skops; take the pickle"
    return None


def not_onnx(task_type: TaskType, slug: str) -> str | None:
    """Why a model cannot be had as ONNX, as far as its name tells; None where it may."""
    if task_type == TaskType.TIME_SERIES:
        return "Models of time series have no form in ONNX; take the pickle"
    return None


class OnnxTensor(Struct, kw_only=True):
    """An input or an output of a graph. `shape`: null is the number of rows. `columns`: those of the table
    that an input is made of, after the cleaning that the file's metadata describes (`trainyard.inputs`)."""

    name: str
    type: str
    shape: list[int | None]
    columns: list[str] | UnsetType = UNSET


class Parity(Struct, kw_only=True):
    """How far a graph's answers are from the pickle's, on `rows` held-out rows: the largest difference
    between their `compared`, what is tolerated, the share of equal labels."""

    rows: int
    compared: Literal["probabilities", "predictions"]
    max_abs_difference: float
    tolerance: float
    equal_labels: float | UnsetType = UNSET


class OnnxFacts(Struct, kw_only=True):
    """What running a graph needs to know. `opset`, `ml_opset`: versions of ONNX's own operators and of those
    for classical models."""

    opset: int
    ml_opset: int
    inputs: list[OnnxTensor]
    outputs: list[OnnxTensor]
    parity: Parity


class Conversion(Struct, kw_only=True):
    """A model in another format. `requires`: what has to be installed to open it. `types`, of a .skops: what
    `skops.io.load` has to be told to trust. `onnx`, of a graph: what goes in and out, and how near it is to
    the pickle."""

    status: ConversionStatus
    format: ConversionFormat
    onnx: OnnxFacts | UnsetType = UNSET
    types: list[str] | UnsetType = UNSET
    requires: list[str] | UnsetType = UNSET
    size_bytes: int | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Export(Struct, kw_only=True):
    """The ZIP of everything in an account; `built_at`: it holds what there was then."""

    status: BundleStatus
    progress: float
    size_bytes: int | UnsetType = UNSET
    built_at: dt.datetime | UnsetType = UNSET
    expires_at: dt.datetime | UnsetType = UNSET
    error: str | UnsetType = UNSET
