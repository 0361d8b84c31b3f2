"""Where to go from an answer: OpenAPI's links, made by rule.

A POST that answers a thing leads to every operation that names such a thing in its path.
"""

from __future__ import annotations

import re
from typing import Any

_THINGS = {
    "File": ("file_id", "$response.body#/file_id"),
    "Task": ("task_id", "$response.body#/task_id"),
    "Model": ("model_id", "$response.body#/id"),
}
"""Component → the path parameter that names it, and where an answer says which it is."""

_BODIES: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("get_profile", "200"): {
        "train": {"file_id": "$request.path.file_id", "target": "$response.body#/suggested_target"},
    },
    ("train", "202"): {
        "save_model": {"task_id": "$response.body#/task_id", "model_name": "$response.body#/name"},
    },
}
"""(operation id, status) → operation id → its body."""

_PARAMETER = re.compile(r"\{(\w+)\}")


def link(document: dict[str, Any]) -> None:
    """Put the links of every answer into the document."""
    targets = {
        operation["operationId"]: _PARAMETER.findall(path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "head"
    }
    for item in document["paths"].values():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                links = _from(response, targets) if method == "post" else {}
                for target, body in _BODIES.get((operation["operationId"], status), {}).items():
                    if target in targets:
                        links[target] = {"operationId": target, "requestBody": body}
                if links:
                    response["links"] = links


def _from(response: dict[str, Any], targets: dict[str, list[str]]) -> dict[str, Any]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    thing = schema.get("$ref", "").rpartition("/")[2]
    if thing not in _THINGS:
        return {}
    name, where = _THINGS[thing]
    return {
        target: {"operationId": target, "parameters": {name: where}}
        for target, parameters in targets.items()
        if parameters == [name]
    }
