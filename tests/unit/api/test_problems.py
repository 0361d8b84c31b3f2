"""The table from domain error to status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import shared.storage  # noqa: F401 - its errors count too
from services.api.problems import STATUS, as_problem, responses, status_of
from shared.errors import (
    InvalidRequest,
    StorageCorrupt,
    StorageUnavailable,
    TaskNotFound,
    TrainingNotCompleted,
    TrainyardError,
)


def every(kind: type[TrainyardError]) -> Iterator[type[TrainyardError]]:
    if kind.__module__.startswith("shared."):
        yield kind
    for sub in kind.__subclasses__():
        yield from every(sub)


def test_every_domain_error_has_a_status() -> None:
    missing = [kind for kind in every(TrainyardError) if "slug" in vars(kind) and kind not in STATUS]
    assert missing == []
    assert {status_of(kind) for kind in every(StorageUnavailable)} == {503}


def test_slugs_are_stable_words_and_nobody_elses() -> None:
    slugs = [kind.slug for kind in every(TrainyardError) if "slug" in vars(kind)]
    assert len(set(slugs)) == len(slugs)
    assert all(slug.replace("-", "").isalpha() and slug.islower() for slug in slugs)


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (TaskNotFound(), 404, "Task not found"),
        (TrainingNotCompleted(), 400, "Training not completed"),
        (InvalidRequest([("/a", "b"), ("", "c")]), 422, "/a: b; /: c"),
    ],
)
def test_a_problem_has_the_guides_words(error: TrainyardError, status: int, detail: str) -> None:
    problem = as_problem(error, "/x")
    assert (problem.status, problem.detail, problem.instance) == (status, detail, "/x")


def test_our_own_faults_say_nothing_of_the_inside() -> None:
    problem = as_problem(StorageCorrupt("bucket x key y"))
    assert (problem.status, problem.type) == (500, "internal")
    assert "bucket" not in problem.detail


def test_an_operation_lists_its_errors_and_what_any_call_can_give() -> None:
    assert set(responses(TaskNotFound)) == {401, 403, 404, 409, 429, 500, 503}
    assert set(responses(TaskNotFound, public=True)) == {404, 500}
