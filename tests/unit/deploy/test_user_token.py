"""`make token`: what it signs is taken by the API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.api.tokens import Tokens
from shared.errors import Unauthenticated
from shared.settings import Auth, load

SECRET = "a secret of a file, which is 32 bytes or more"


def made(folder: Path, variables: dict[str, str], *arguments: str) -> str:
    """By the command, with a .env of these variables and an environment without."""
    file = folder / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    command = [sys.executable, "-m", "deploy.user_token", "--env-file", str(file), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout.strip()


async def test_the_api_takes_what_it_signs(tmp_path: Path) -> None:
    given = {"AUTH_JWT_SECRET": SECRET}
    tokens = Tokens(load(Auth, given))
    user = await tokens.check(made(tmp_path, given, "ada@example.org"))
    assert (user.role, user.email) == ("authenticated", "ada@example.org")
    service = await tokens.check(made(tmp_path, given, "--role", "service"))
    assert (service.role, service.user_id) == ("service_role", None)


async def test_it_is_issued_by_one_who_may(tmp_path: Path) -> None:
    given = {"AUTH_JWT_SECRET": SECRET, "AUTH_ISSUER": "https://p.example, supabase"}
    tokens = Tokens(load(Auth, given))
    for role in ("user", "service"):
        await tokens.check(made(tmp_path, given, "--role", role))
        with pytest.raises(Unauthenticated):
            await tokens.check(made(tmp_path, {"AUTH_JWT_SECRET": SECRET}, "--role", role))


def test_without_a_secret_it_says_where_it_looked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.user_token", "--env-file", str(tmp_path / "env")]
    failed = subprocess.run(command, capture_output=True, text=True, env={}, check=False)
    assert failed.returncode == 2
    assert str(tmp_path / "env") in failed.stderr
