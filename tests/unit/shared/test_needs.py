"""What a trainer has to know for a piece of work."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from shared import needs
from shared.contracts.catalogue import METRICS, MODELS
from shared.contracts.states import TaskType
from shared.contracts.training import TrainRequest

FILE = uuid.UUID(int=1)


def request(**fields: Any) -> TrainRequest:
    return TrainRequest(file_id=FILE, target="y", **fields)


def test_a_bare_request_needs_nothing_so_that_any_trainer_can_plan_it() -> None:
    assert needs.of_request(request()) == []


def test_a_request_needs_each_field_it_sets_and_what_it_names() -> None:
    asked = request(task_type="regression", models=["ridge"], metric="mae", seed=3)
    assert needs.of_request(asked) == [
        "field metric",
        "field models",
        "field seed",
        "field task_type",
        "metric mae",
        "regression",
        "regression ridge",
    ]
    assert "ridge" in needs.of_request(request(models=["ridge"]))  # of which type the plan will tell


@pytest.mark.parametrize("kind", list(TaskType))
def test_this_version_knows_all_that_it_can_be_asked_for(kind: TaskType) -> None:
    for task_type in ("auto", kind.value):
        for metric in METRICS[kind]:
            asked = request(
                task_type=task_type,
                models=list(MODELS[kind]),
                metric=metric,
                time_budget_s=9,
                test_size=0.3,
                cv_folds=3,
                refit=False,
                seed=1,
                exclude_columns=["a"],
                group_column="g",
                time_column="t",
                series_column="s",
                horizon=3,
                name="n",
                on_leakage="drop",
            )
            assert set(needs.of_request(asked)) <= set(needs.known())


def test_a_stored_request_is_read_without_fields_of_a_later_version() -> None:
    asked = request(seed=3, models=["ridge"])
    row = msgspec.to_builtins(asked)
    assert needs.stored(row) == asked
    assert needs.stored(row | {"wished_for_later": 1}) == asked
    with pytest.raises(msgspec.ValidationError):
        needs.stored(row | {"wished_for_later": 1, "seed": "three"})
