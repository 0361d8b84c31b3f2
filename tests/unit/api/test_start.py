"""What the API refuses to start with."""

from __future__ import annotations

import os

import pytest

from services.api import __main__ as process

GOOD = {
    "API_DATABASE_URL": "postgresql://a@127.0.0.1/x",
    "S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "AUTH_JWT_SECRET": "s" * 32,
}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"AUTH_JWT_SECRET": ""}, "AUTH_JWT_SECRET or AUTH_JWKS_URL is required"),
        ({"AUTH_JWT_SECRET": "s" * 31}, "AUTH_JWT_SECRET must be at least 32 bytes long"),
        ({"AUTH_JWT_SECRET": "s", "AUTH_JWKS_URL": "http://127.0.0.1/x"}, "at least 32 bytes long"),
        ({"API_DATABASE_URL": ""}, "API_DATABASE_URL is required"),
        ({"S3_ENDPOINT_URL": ""}, "S3_ENDPOINT_URL is required"),
        ({"PORT": "many"}, "PORT"),
        ({"FORWARDED_ALLOW_IPS": "127.0.0.1, *"}, "'*' is not an address or a network"),
        ({"CORS_ALLOWED_ORIGINS": "https://a.example, *"}, "'*' is not an origin"),
        ({"RATE_LIMIT_READS_PER_MIN": "-1"}, "RATE_LIMIT_READS_PER_MIN"),
        ({"AUTH_JWT_SECRET_FILE": "/run/secrets/x"}, "are both set"),
        ({"AUTH_DEV_LOGIN": "true", "HOST": "0.0.0.0"}, "only on a loopback address"),
        ({"AUTH_DEV_LOGIN": "true", "HOST": "yard.example"}, "only on a loopback address"),
        (
            {"AUTH_DEV_LOGIN": "true", "AUTH_JWT_SECRET": "", "AUTH_JWKS_URL": "http://127.0.0.1/x"},
            "AUTH_DEV_LOGIN needs AUTH_JWT_SECRET",
        ),
    ],
)
def test_it_says_in_one_line_why_it_does_not_start(
    more: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "environ", GOOD | more)
    assert process.main() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert reason in shown.err
    assert shown.err.count("\n") == 1
