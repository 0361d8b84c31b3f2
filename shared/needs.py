"""What a trainer has to know for a piece of work, in words that a job carries.

While an update is rolled out, trainers of two versions share a queue. Each claims only jobs whose words it
knows all of (`shared.db.jobs.claim`): what is new waits for a trainer that can do it, instead of failing at
one that cannot. A word never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.contracts.catalogue import METRICS, MODELS
from shared.contracts.states import TaskType
from shared.contracts.training import TrainRequest

CLUSTER = "cluster"
"""Known by trainers that have a cluster: to fit all rows of a table that is too large for a machine."""


def known() -> list[str]:
    """All words of this version, but those that depend on what a trainer has."""
    words = {f"field {name}" for name in TrainRequest.__struct_fields__}
    for kind in TaskType:
        words |= {str(kind), *MODELS[kind], *(of_model(kind, slug) for slug in MODELS[kind])}
        words |= {f"metric {name}" for name in METRICS[kind]}
    return sorted(words)


def of_model(task_type: str, slug: str) -> str:
    """To fit it or to open it. A slug may come to one task type later than to another."""
    return f"{task_type} {slug}"


def of_request(request: TrainRequest) -> list[str]:
    """To plan it: each field that is set, the task type, the metric and the models that it names."""
    bare = TrainRequest(file_id=request.file_id, target=request.target)
    fields = [name for name in request.__struct_fields__ if getattr(request, name) != getattr(bare, name)]
    words = {f"field {name}" for name in fields}
    kind = None if request.task_type == "auto" else request.task_type
    if kind is not None:
        words.add(kind)
    if request.metric is not None:
        words.add(f"metric {request.metric}")
    words |= {slug if kind is None else of_model(kind, slug) for slug in request.models or []}
    return sorted(words)


def stored(request: Mapping[str, Any]) -> TrainRequest:
    """A request as a task's row has it, without fields of a later version: they matter to who plans it, and
    its job says so."""
    try:
        return msgspec.convert(request, TrainRequest)
    except msgspec.ValidationError:
        known = TrainRequest.__struct_fields__
        return msgspec.convert({name: request[name] for name in known if name in request}, TrainRequest)
