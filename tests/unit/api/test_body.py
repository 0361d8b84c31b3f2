"""JSON bodies: what is read, and what is said of one that does not fit."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.body import checked, faults, parse
from shared.contracts import ModelPatch, SaveRequest, TrainRequest
from shared.errors import InvalidRequest, MalformedRequest

ID = str(uuid.UUID(int=1))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "line 1"),
        (b'{"target": "a", "target": "b"}', "'target' is there twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' is there twice"),
        (b'{"seed": NaN}', "NaN"),
        (b'{"seed": -Infinity}', "-Infinity"),
        (b"\xff\xfe{}", "UTF-8"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b"[" * 100_000, "too deep"),
        (b'{"seed": ' + b"9" * 10_000 + b"}", "too long a number"),
    ],
)
def test_what_is_not_read(body: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(body)
    assert says in caught.value.detail


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (None, [""]),
        ([], [""]),
        ({}, ["/file_id", "/target"]),
        ({"file_id": ID, "target": ""}, ["/target"]),
        ({"file_id": ID, "target": "t", "models": []}, ["/models"]),
        ({"file_id": ID, "target": "t", "models": [1, "a", None]}, ["/models/0", "/models/2"]),
        ({"file_id": ID, "target": "t", "models": "all"}, ["/models"]),
        ({"file_id": ID, "target": "t", "seed": True, "horizon": 1.5}, ["/horizon", "/seed"]),
        ({"file_id": 1, "target": "t", "x~y/z": 0}, ["/file_id", "/x~0y~1z"]),
        ({"file_id": ID, "target": "\0", "name": "\ud800"}, ["/name", "/target"]),
        ({"file_id": ID, "target": "t", "exclude_columns": ["a", "\0"]}, ["/exclude_columns/1"]),
        ({"file_id": ID, "target": "t", "test_size": 1e999}, ["/test_size"]),
    ],
)
def test_every_fault_is_named_once(body: Any, pointers: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(body, TrainRequest)
    assert sorted(pointer for pointer, _ in caught.value.errors) == pointers
    assert all(detail and "`" not in detail for _, detail in caught.value.errors)


def test_more_faults_than_anybody_reads_are_counted() -> None:
    body = {"file_id": ID, "target": "t", "models": [0] * 5_000}
    with pytest.raises(InvalidRequest) as caught:
        checked(body, TrainRequest)
    assert len(caught.value.errors) == 101
    assert caught.value.errors[-1] == ("", "and 4,900 more faults")


def test_what_fits_comes_back_as_a_struct() -> None:
    request = checked({"file_id": ID, "target": "t", "seed": 1, "models": ["xgboost"]}, TrainRequest)
    assert (request.file_id, request.seed, request.models) == (uuid.UUID(ID), 1, ["xgboost"])
    assert checked({"description": None}, ModelPatch).description is None


def refusal(body: Any, wanted: type) -> list[tuple[str, str]]:
    """What is wrong with it; nothing where it was taken."""
    try:
        assert isinstance(checked(body, wanted), wanted)
    except InvalidRequest as error:
        return error.errors or [("", "")]
    return []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*TrainRequest.__struct_fields__, "more"]), _json))
def test_whatever_comes_is_taken_or_every_fault_is_named(body: dict[str, Any]) -> None:
    parsed = parse(json.dumps(body).encode().replace(b"Infinity", b"1"))
    found = refusal(parsed, TrainRequest)
    assert found == [] or all(pointer.startswith("/") and detail for pointer, detail in found)
    assert found or faults(parsed, TrainRequest) == []


@given(_json)
def test_no_body_breaks_it(body: Any) -> None:
    for wanted in (SaveRequest, ModelPatch):
        found = refusal(body, wanted)
        assert all(detail for _, detail in found)
        assert found or isinstance(body, dict)
