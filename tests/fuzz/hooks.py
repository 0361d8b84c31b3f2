"""What schemathesis is told in Python; `schemathesis.toml` loads it."""

from __future__ import annotations

from typing import Any

import schemathesis

OF_EVERY_ANSWER = {
    "content-type",
    "content-length",
    "date",
    "transfer-encoding",
    "cache-control",
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
}
"""HTTP's own, and what the edge puts on every answer (`tests/integration/test_api_edge.py`)."""


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """A key that was used already is answered with what was made then, and may be gone since: chains of
    calls make their things anew."""
    if case.meta is not None and case.meta.phase.name == "stateful" and case.headers:
        case.headers.pop("Idempotency-Key", None)


@schemathesis.check
def undeclared_headers(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A check of our own: an answer has no header that the schema does not name."""
    if case.method.upper() != case.operation.method.upper():
        return  # another method than the schema's: it says nothing of the answer
    declared = case.operation.definition.raw["responses"].get(str(response.status_code))
    if declared is None:
        return  # another check's
    named = {name.lower() for name in declared.get("headers", {})}
    found = {name.lower() for name in response.headers} - OF_EVERY_ANSWER - named
    assert not found, f"{response.status_code} has headers that the schema does not name: {sorted(found)}"
