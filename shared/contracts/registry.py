"""Saved models."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from shared.contracts.states import BEST_MODEL, ModelStatus, TaskType

Tag = Annotated[str, Meta(min_length=1, max_length=40)]

VISIBLE = r"[^\s\x00-\x1f\x7f-\x9f\ufeff]"
"""At least one character that is seen. What counts as blank differs between languages: this does not."""

ModelName = Annotated[str, Meta(min_length=1, max_length=120, pattern=VISIBLE)]
"""The user's own words, kept as typed; blanks alone are no name."""


class SaveRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    task_id: uuid.UUID
    model_name: ModelName
    description: Annotated[str, Meta(max_length=2000)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=20)] = []
    leaderboard_model: Annotated[str, Meta(min_length=1, max_length=200)] = BEST_MODEL


class ModelPatch(Struct, kw_only=True, forbid_unknown_fields=True):
    model_name: ModelName | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=2000)] | UnsetType | None = UNSET
    tags: Annotated[list[Tag], Meta(max_length=20)] | UnsetType = UNSET


class Model(Struct, kw_only=True):
    id: uuid.UUID
    user_id: uuid.UUID
    file_id: uuid.UUID | None
    model_name: str
    algorithm: str
    task_type: TaskType
    metrics: dict[str, Any]
    file_path: str | None
    file_size: int | None
    description: str | None
    tags: list[str]
    status: ModelStatus
    created_at: dt.datetime
    updated_at: dt.datetime
    deleted: bool
    task_id: uuid.UUID
    links_issued: int
    transfers: int
    sha256: str | UnsetType = UNSET


class ModelStats(Struct, kw_only=True):
    count: int
    bytes: int
    by_task_type: dict[str, int]
    by_algorithm: dict[str, int]
    links_issued: int
    transfers: int
    most_downloaded: list[Model]
