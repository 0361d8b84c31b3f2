"""What things are called and which states they have: the values of the enumerations are the contract's."""

from __future__ import annotations

import enum
import os
import time
import uuid


def uuid7() -> uuid.UUID:
    """A time-ordered UUID (RFC 9562, section 5.7): rows made one after another stay together."""
    ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (ms & (2**48 - 1)) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (2**62 - 1)
    return uuid.UUID(int=value)


def first_uuid7(at: float) -> uuid.UUID:
    """The least `uuid7` of a moment (seconds since 1970): every one that was made before is less."""
    return uuid.UUID(int=int(at * 1000) << 80)


class TaskType(enum.StrEnum):
    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    TIME_SERIES = "time_series"


class TaskStatus(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class Stage(enum.StrEnum):
    QUEUED = "queued"
    PROFILING = "profiling"
    FITTING = "fitting"
    ENSEMBLING = "ensembling"
    FINISHING = "finishing"
    DONE = "done"


class CandidateStatus(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class ModelStatus(enum.StrEnum):
    SAVING = "saving"
    READY = "ready"
    FAILED = "failed"


class FileStatus(enum.StrEnum):
    PROFILING = "profiling"
    READY = "ready"
    FAILED = "failed"


class BundleStatus(enum.StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class JobKind(enum.StrEnum):
    """Stable names of the messages: old and new workers run side by side on them."""

    PROFILE = "profile"
    PLAN = "plan"
    FIT = "fit"
    FINISH = "finish"
    BUNDLE = "bundle"
    SAVE = "save"
    PURGE = "purge"
    CONVERT = "convert"
    CONVERT_ONNX = "convert_onnx"
    EXPORT = "export"
    ERASE = "erase"


BEST_MODEL = "best_model"
"""The reserved slug under which a task's best model is asked for."""


class PlotKind(enum.StrEnum):
    """What plots there are: of a classification, of a regression, of either, of a time series."""

    CONFUSION_MATRIX = "confusion_matrix"
    ROC_CURVE = "roc_curve"
    PRECISION_RECALL_CURVE = "precision_recall_curve"
    CALIBRATION_CURVE = "calibration_curve"
    LIFT_CURVE = "lift_curve"
    PREDICTION_ERROR = "prediction_error"
    RESIDUALS = "residuals"
    IMPORTANCE = "importance"
    LEARNING_CURVE = "learning_curve"
    FORECAST = "forecast"


class ConversionStatus(enum.StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class ConversionFormat(enum.StrEnum):
    """What a model can be had as besides a pickle."""

    SKOPS = "skops"
    ONNX = "onnx"
