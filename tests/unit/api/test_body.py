"""JSON bodies: what is read, and what is said of one that does not fit."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.body import checked, faults, parse
from services.api.routes.auth import DevLogin
from shared.contracts.accounts import ApiKeyRequest
from shared.contracts.registry import ModelPatch, SaveRequest
from shared.contracts.training import TrainRequest
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


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("time_budget_s", 0, "must be a number from 1 to 86,400, not 0"),
        ("time_budget_s", "long", 'must be a number from 1 to 86,400, not "long"'),
        ("test_size", 1, "must be a number above 0 and below 1, not 1"),
        ("task_type", "x", 'must be one of "auto", "classification", "regression", "time_series", not "x"'),
        ("seed", 1.5, "must be a whole number from 0 to 4,294,967,295, not 1.5"),
        ("seed", 10**80, "must be a whole number from 0 to 4,294,967,295, not a number of so many digits"),
        ("seed", True, "must be a whole number from 0 to 4,294,967,295, not true"),
        ("horizon", "x", 'must be a whole number from 1 to 100,000 or null, not "x"'),
        ("refit", "yes", 'must be true or false, not "yes"'),
        ("models", [], "must be a list of 1 to 50 entries or null, not an empty list"),
        ("models", {}, "must be a list of 1 to 50 entries or null, not an object"),
        ("exclude_columns", None, "must be a list of at most 10,000 entries, not null"),
        ("target", "", 'must be text of 1 to 1,000 characters, not ""'),
        ("target", "x" * 1001, "must be text of 1 to 1,000 characters, not 1,001 characters"),
        ("metric", ["r2"], "must be text or null, not a list of 1"),
        ("file_id", "x", 'must be an id (a UUID), not "x"'),
    ],
)
def test_faults_are_said_in_words(field: str, value: Any, says: str) -> None:
    assert refusal({"file_id": ID, "target": "t", field: value}, TrainRequest) == [(f"/{field}", says)]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (" \t", 'must be text that is not blank, not " \\t"'),
        ("", 'must be text that is not blank of at most 120 characters, not ""'),
        (7, "must be text that is not blank of at most 120 characters, not 7"),
        ("x" * 121, "must be text of 1 to 120 characters, not 121 characters"),
    ],
)
def test_names_are_text_with_something_in_it(name: Any, says: str) -> None:
    body = {"task_id": ID, "model_name": name, "tags": ["", "t"]}
    assert refusal(body, SaveRequest) == [
        ("/model_name", says),
        ("/tags/0", 'must be text of 1 to 40 characters, not ""'),
    ]


def test_every_field_of_every_body_has_words() -> None:
    for kind in (TrainRequest, SaveRequest, ModelPatch, DevLogin, ApiKeyRequest):
        for field in msgspec.structs.fields(kind):
            for value in (None, {}, [[]], [], 1e999, -1, "", " ", "\u202e", "x" * 9_999):
                for pointer, said in faults({field.encode_name: value}, kind):
                    if pointer.startswith(f"/{field.encode_name}"):
                        assert said.startswith("must be"), (field.name, value, said)
                        assert "regex" not in said


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
