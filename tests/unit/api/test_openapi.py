"""The OpenAPI schema is part of the product."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.app import create_app
from services.api.context import load_settings


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    settings = load_settings(
        {
            "API_DATABASE_URL": "postgresql://a@127.0.0.1/x",
            "S3_ENDPOINT_URL": "http://127.0.0.1:1",
            "AUTH_JWT_SECRET": "s" * 32,
            "AUTH_DEV_LOGIN": "true",
        }
    )
    return create_app(settings).openapi_schema.to_schema()


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


EXPECTED = {
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "POST /auth/session",
    "DELETE /auth/session",
    "POST /auth/dev-login",
    "POST /files",
    "GET /files",
    "GET /files/{file_id}",
    "DELETE /files/{file_id}",
    "GET /files/{file_id}/profile",
    "POST /ml/train",
    "GET /ml/models",
    "GET /ml/status/{task_id}",
    "GET /ml/events/{task_id}",
    "POST /ml/cancel/{task_id}",
    "POST /ml/resume/{task_id}",
    "GET /ml/tasks",
    "DELETE /ml/tasks/{task_id}",
    "GET /ml/results/{task_id}",
    "GET /ml/download-model/{task_id}/{model_name}",
    "GET /ml/download-leaderboard/{task_id}",
    "GET /ml/download-all-models/{task_id}",
    "GET /ml/bundles/{task_id}",
    "POST /models/save",
    "GET /models",
    "GET /models/stats",
    "GET /models/{model_id}",
    "PATCH /models/{model_id}",
    "DELETE /models/{model_id}",
    "POST /models/{model_id}/restore",
    "GET /models/{model_id}/download",
}


def test_every_call_of_the_contract_is_there(schema: dict[str, Any]) -> None:
    assert {name for name, _ in operations(schema)} >= EXPECTED
    assert not any(path.startswith("/schema") for path in schema["paths"])


def test_every_operation_says_what_it_does_and_how_it_can_fail(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        assert operation["summary"], name
        assert operation["description"], name
        failing = {code: answer for code, answer in operation["responses"].items() if code >= "400"}
        assert "500" in failing, name
        for code, answer in failing.items():
            if (name, code) == ("GET /health/ready", "503"):
                continue
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (name, code)
            assert all(example["value"]["status"] == int(code) for example in content["examples"].values())
        if operation.get("security") != [{}]:
            assert {"401", "403", "503"} <= set(failing), name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


KEYED = ("/files", "/ml/train", "/ml/cancel/{task_id}", "/ml/resume/{task_id}", "/models/save")


def test_every_post_that_makes_something_takes_an_idempotency_key(schema: dict[str, Any]) -> None:
    for path in KEYED:
        operation = schema["paths"][path]["post"]
        header = next(p for p in operation["parameters"] if p["name"] == "Idempotency-Key")
        assert (header["in"], header["required"]) == ("header", False)
        slugs = {
            slug
            for answer in operation["responses"].values()
            for slug in answer["content"].get("application/problem+json", {}).get("examples", {})
        }
        assert {"idempotency-key-in-use", "idempotency-key-reused"} <= slugs, path


def test_events_are_described_as_a_stream(schema: dict[str, Any]) -> None:
    answers = schema["paths"]["/ml/events/{task_id}"]["get"]["responses"]
    assert "text/event-stream" in answers["200"]["content"]
    assert "204" in answers


def test_references_lead_somewhere_and_ids_are_unique(schema: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            return ([node["$ref"]] if "$ref" in node else []) + [
                r for v in node.values() for r in references(v)
            ]
        return [r for v in node for r in references(v)] if isinstance(node, list) else []

    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert set(references(schema)) <= known
    ids = [operation["operationId"] for _, operation in operations(schema)]
    assert len(set(ids)) == len(ids)


def test_bodies_have_examples(schema: dict[str, Any]) -> None:
    for path in ("/ml/train", "/models/save"):
        content = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"].get("examples") or content.get("examples"), path
    upload = schema["paths"]["/files"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert upload["schema"]["required"] == ["file"]
