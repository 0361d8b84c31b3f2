"""The OpenAPI schema is part of the product: what is asked of every operation, and of the whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.api.app import create_app
from services.api.context import load_settings
from shared.contracts.catalogue import METRICS
from shared.contracts.results import LeaderboardRow

PROBLEM_JSON = "application/problem+json"
READY = ("GET /health/ready", "503")
"""The one answer of a 5xx that is no problem: it says which part is away."""
NO_PLACE = {
    ("GET /files/{file_id}/profile", "202"),
    ("GET /files/{file_id}/preview", "202"),
    ("POST /auth/api-keys", "201"),
}
"""What is made here is found where it was asked for, or nowhere again."""


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


def answers(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """(operation's name, operation, status, answer)"""
    for name, operation in operations(schema):
        for status, answer in operation["responses"].items():
            yield name, operation, status, answer


def parameters(schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [resolved(schema, parameter) for parameter in operation.get("parameters", [])]
    return {parameter["name"]: parameter for parameter in found}


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    _, section, kind, name = node["$ref"].split("/", 3)
    found: dict[str, Any] = schema[section][kind][name]
    return found


def faults(schema: dict[str, Any], of: dict[str, Any], value: Any) -> list[str]:
    whole = of | {"components": schema["components"]}
    checker = OAS31Validator(whole, format_checker=oas31_format_checker)
    return [error.message for error in checker.iter_errors(value)]


EXPECTED = {
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "POST /auth/session",
    "DELETE /auth/session",
    "GET /auth/sign-in",
    "POST /auth/dev-login",
    "POST /files",
    "GET /files",
    "GET /files/{file_id}",
    "DELETE /files/{file_id}",
    "GET /files/{file_id}/profile",
    "GET /files/{file_id}/preview",
    "POST /ml/train",
    "GET /ml/models",
    "GET /ml/status/{task_id}",
    "GET /ml/events/{task_id}",
    "POST /ml/cancel/{task_id}",
    "POST /ml/resume/{task_id}",
    "GET /ml/tasks",
    "GET /ml/tasks/{task_id}/log",
    "DELETE /ml/tasks/{task_id}",
    "GET /ml/results/{task_id}",
    "GET /ml/download-model/{task_id}/{model_name}",
    "GET /ml/download-leaderboard/{task_id}",
    "GET /ml/download-all-models/{task_id}",
    "GET /ml/bundles/{task_id}",
    "GET /ml/conversions/{task_id}/{model_name}",
    "POST /models/save",
    "GET /models",
    "GET /models/stats",
    "GET /models/{model_id}",
    "PATCH /models/{model_id}",
    "DELETE /models/{model_id}",
    "POST /models/{model_id}/restore",
    "GET /models/{model_id}/download",
    "GET /account",
    "GET /account/audit",
    "GET /account/export",
    "DELETE /account",
}


def test_it_is_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(schema).iter_errors()] == []
    assert schema["info"]["license"]["identifier"] == "Apache-2.0"
    assert schema["servers"]


def test_every_call_of_the_contract_is_there(schema: dict[str, Any]) -> None:
    assert {name for name, _ in operations(schema)} >= EXPECTED
    assert not any(path.startswith("/schema") for path in schema["paths"])


def test_every_operation_has_a_name_and_says_what_it_does(schema: dict[str, Any]) -> None:
    known = {tag["name"] for tag in schema["tags"] if tag["description"]}
    for name, operation in operations(schema):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]), name
        assert operation["summary"], name
        assert operation["description"], name
        assert "\n" not in operation["description"], name
        assert len(operation["tags"]) == 1, name
        assert set(operation["tags"]) <= known, name
        for parameter in parameters(schema, operation).values():
            assert parameter.get("description"), (name, parameter["name"])
    ids = [operation["operationId"] for _, operation in operations(schema)]
    assert len(set(ids)) == len(ids)


def test_every_operation_says_who_may_ask(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]
    for name, operation in operations(schema):
        given = [scheme for wanted in operation["security"] for scheme in wanted]
        assert set(given) <= set(schemes), name
        assert ("sessionCookie" in given) <= name.startswith("GET "), name
        if given:
            assert "bearerAuth" in given, name
            assert parameters(schema, operation)["X-User-Id"]["schema"]["format"] == "uuid", name
    scopes = {
        name: wanted["apiKeyAuth"]
        for name, operation in operations(schema)
        for wanted in operation["security"]
        if "apiKeyAuth" in wanted
    }
    assert all(len(wanted) == 1 for wanted in scopes.values())
    assert scopes["GET /files"] == scopes["HEAD /models/{model_id}/download"] == ["read"]
    assert scopes["POST /ml/train"] == scopes["DELETE /files/{file_id}"] == ["train"]
    assert scopes["GET /auth/api-keys"] == ["admin"]
    public = {name for name, operation in operations(schema) if operation["security"] == []}
    assert public == {
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
        "GET /auth/sign-in",
        "POST /auth/dev-login",
        "DELETE /auth/session",
    }


def test_every_operation_says_how_it_can_fail(schema: dict[str, Any]) -> None:
    for name, operation, status, answer in answers(schema):
        if status < "400" or (name, status) == READY:
            continue
        assert "Cache-Control" in answer["headers"], (name, status)
        if name.startswith("HEAD "):
            assert "content" not in answer, (name, status)
            continue
        assert list(answer["content"]) == [PROBLEM_JSON], (name, status)
        content = answer["content"][PROBLEM_JSON]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (name, status)
        assert content["examples"], (name, status)
        for example in content["examples"].values():
            assert example["value"]["status"] == int(status), (name, status)
            assert faults(schema, content["schema"], example["value"]) == [], (name, status)
        assert operation["responses"]["500"], name


def test_what_follows_from_what_an_operation_takes(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        failing = {status for status in operation["responses"] if status >= "400"}
        if operation["security"]:
            assert {"401", "403", "503"} <= failing, name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= failing, name
        if any(parameter["in"] == "query" for parameter in parameters(schema, operation).values()):
            assert "422" in failing, name
        if any(parameter["in"] == "path" for parameter in parameters(schema, operation).values()):
            assert "404" in failing, name
        if "206" in operation["responses"]:
            assert "416" in failing, name
            assert {"Range", "If-Range", "If-None-Match"} <= set(parameters(schema, operation)), name
        assert ("304" in operation["responses"]) == ("If-None-Match" in parameters(schema, operation)), name


def test_answers_name_their_headers(schema: dict[str, Any]) -> None:
    always = {"401": "WWW-Authenticate", "416": "Content-Range", "429": "Retry-After", "503": "Retry-After"}
    for name, _operation, status, answer in answers(schema):
        headers = {key: resolved(schema, header) for key, header in answer["headers"].items()}
        assert headers["X-Request-Id"]["required"], (name, status)
        if status in always:
            assert headers[always[status]]["required"], (name, status)
        if status in ("201", "202", "307") and (name, status) not in NO_PLACE:
            assert "Location" in headers, (name, status)
        if status == "202":
            assert "Retry-After" in headers, (name, status)
        if status == "304":
            assert "ETag" in headers, (name, status)
        if status == "206":
            assert headers["Content-Range"]["required"], (name, status)
        for header in headers.values():
            assert header["description"]
            assert faults(schema, header["schema"], header["example"]) == [], (name, status)


def test_bodies_have_examples_that_fit(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        bodies = {status: answer for status, answer in operation["responses"].items() if status < "300"}
        for where, body in {"body": operation.get("requestBody"), **bodies}.items():
            content = (body or {}).get("content", {})
            if where == "body" or not name.startswith("HEAD "):
                assert content or where not in ("body", "200", "201", "202") or body is None, (name, where)
            for media_type, media in content.items():
                if media_type != "application/json":
                    continue
                assert set(media["schema"]) == {"$ref"}, (name, where)
                assert media.get("examples"), (name, where, media["schema"])
                for key, example in media["examples"].items():
                    assert faults(schema, media["schema"], example["value"]) == [], (name, where, key)


def test_what_has_no_body_says_so(schema: dict[str, Any]) -> None:
    for name, _operation, status, answer in answers(schema):
        if status in ("204", "304", "307"):
            assert "content" not in answer, (name, status)


def test_components_can_be_classes_of_a_client(schema: dict[str, Any]) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    kinds = {kind: names for kind, names in schema["components"].items() if kind != "securitySchemes"}
    given = {f"#/components/{kind}/{name}" for kind, names in kinds.items() for name in names}
    assert references(schema) == given
    for name, component in schema["components"]["schemas"].items():
        assert re.fullmatch(r"([A-Z][a-z]*)+", name), name
        assert component["title"] == name
        for field, of_field in component.get("properties", {}).items():
            if field.endswith("_at"):
                assert of_field["format"] == "date-time", (name, field)


def test_what_a_body_may_hold_is_what_is_checked(schema: dict[str, Any]) -> None:
    request = schema["components"]["schemas"]["TrainRequest"]
    assert request["additionalProperties"] is False
    assert request["required"] == ["file_id", "target"]
    saved = schema["components"]["schemas"]["SaveRequest"]["properties"]
    tag = {"type": "string", "maxLength": 40, "minLength": 1, "not": {"pattern": "\\u0000"}}
    assert saved["tags"]["items"] == tag
    patched = schema["components"]["schemas"]["ModelPatch"]["properties"]
    text, nothing = patched["description"]["anyOf"]
    assert (text["maxLength"], nothing) == (2000, {"type": "null"})


def test_a_row_of_the_leaderboard_has_every_metric_and_its_standing(schema: dict[str, Any]) -> None:
    row = schema["components"]["schemas"]["LeaderboardRow"]
    metrics = {name for of_type in METRICS.values() for name in of_type}
    assert metrics <= set(row["properties"])
    assert set(row["required"]) == set(row["properties"]) - metrics
    assert set(row["required"]) == {field.name for field in fields(LeaderboardRow)} - {"metrics"}


def test_the_schema_is_written_without_a_server(schema: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "schema.json"
    subprocess.run([sys.executable, "-m", "services.api.openapi", str(out)], check=True)
    assert json.loads(out.read_text()) == json.loads(json.dumps(schema, default=str))


KEYED = ("/files", "/ml/train", "/ml/cancel/{task_id}", "/ml/resume/{task_id}", "/models/save")


def test_every_post_that_makes_something_takes_an_idempotency_key(schema: dict[str, Any]) -> None:
    for path in KEYED:
        operation = schema["paths"][path]["post"]
        header = parameters(schema, operation)["Idempotency-Key"]
        assert (header["in"], header["required"]) == ("header", False)
        slugs = {
            slug
            for answer in operation["responses"].values()
            for slug in answer.get("content", {}).get(PROBLEM_JSON, {}).get("examples", {})
        }
        assert {"idempotency-key-in-use", "idempotency-key-reused"} <= slugs, path
        made = next(answer for status, answer in operation["responses"].items() if status < "300")
        assert "Idempotency-Replayed" in made["headers"], path


def test_events_are_described_as_a_stream(schema: dict[str, Any]) -> None:
    operation = schema["paths"]["/ml/events/{task_id}"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert "204" in operation["responses"]
    assert "Last-Event-ID" in parameters(schema, operation)


def test_a_download_is_a_link_or_the_file(schema: dict[str, Any]) -> None:
    for path, media_type in {
        "/ml/download-model/{task_id}/{model_name}": "application/octet-stream",
        "/ml/download-leaderboard/{task_id}": "text/csv",
        "/ml/download-all-models/{task_id}": "application/zip",
        "/models/{model_id}/download": "application/octet-stream",
    }.items():
        for operation in (schema["paths"][path]["get"], schema["paths"][path]["head"]):
            headers = operation["responses"]["200"]["headers"]
            assert {"Content-Disposition", "ETag", "Accept-Ranges", "Content-Length"} <= set(headers), path
        operation = schema["paths"][path]["get"]
        assert {"200", "206", "304", "307", "416"} <= set(operation["responses"])
        assert set(operation["responses"]["200"]["content"]) == {"application/json", media_type}
        assert set(operation["responses"]["206"]["content"]) == {media_type}


def test_links_lead_from_what_was_made_to_what_can_be_done_with_it(schema: dict[str, Any]) -> None:
    known = {operation["operationId"]: operation for _, operation in operations(schema)}
    links = {
        (operation["operationId"], target): link
        for _, operation, _, answer in answers(schema)
        for target, link in answer.get("links", {}).items()
    }
    for (_, target), link in links.items():
        assert link["operationId"] == target
        of_path = [p for p in parameters(schema, known[target]).values() if p["in"] == "path"]
        assert set(link.get("parameters", {})) == {parameter["name"] for parameter in of_path}
    assert {
        ("upload_file", "get_file"),
        ("upload_file", "get_profile"),
        ("get_profile", "train"),
        ("train", "get_status"),
        ("train", "get_results"),
        ("train", "cancel_task"),
        ("train", "download_all_models"),
        ("train", "save_model"),
        ("save_model", "get_model"),
        ("save_model", "restore_model"),
    } <= set(links)


def test_the_upload_is_a_form_with_one_file(schema: dict[str, Any]) -> None:
    upload = schema["paths"]["/files"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert upload["schema"]["required"] == ["file"]
    assert list(upload["schema"]["properties"]) == ["file"]
