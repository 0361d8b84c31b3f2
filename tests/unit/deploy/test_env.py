"""deploy/env.example against shared/settings.py, and what `make env` makes of it."""

from __future__ import annotations

import base64
import re
import stat
from pathlib import Path

import msgspec
import pytest

from deploy import env
from shared import settings
from shared.signing import MIN_KEY_BYTES, KeyRing

ONLY_HERE = {"POSTGRES_PASSWORD", "API_POSTGRES_PASSWORD", "WORKER_POSTGRES_PASSWORD", "REDIS_PASSWORD"}
"""Parts of the addresses below them."""
COMPOSE = {"API_PORT", "S3_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "JAEGER_PORT", "COMPOSE_PROFILES"}
"""Where compose publishes things, and what else it starts."""

ASSIGNMENT = re.compile(r"(?m)^(# )?([A-Z][A-Z0-9_]+)=(.*)$")


def example() -> dict[str, tuple[bool, str]]:
    """Name → (whether it is commented out, value)."""
    found = [
        (name, (bool(comment), value)) for comment, name, value in ASSIGNMENT.findall(env.EXAMPLE.read_text())
    ]
    assert len(dict(found)) == len(found), "a variable is there twice"
    return dict(found)


def variables() -> dict[str, msgspec.structs.FieldInfo]:
    structs = [
        kind
        for kind in vars(settings).values()
        if isinstance(kind, type) and issubclass(kind, settings.Settings) and kind is not settings.Settings
    ]
    return {field.encode_name: field for kind in structs for field in msgspec.structs.fields(kind)}


def test_every_variable_is_there_and_no_other() -> None:
    assert example().keys() == variables().keys() | ONLY_HERE | COMPOSE


def test_lines_that_are_commented_out_show_the_default() -> None:
    for name, (commented, value) in example().items():
        if commented and name not in COMPOSE:
            default = variables()[name].default
            assert value == (str(default).lower() if isinstance(default, bool) else str(default)), name


def test_compose_and_readme_name_every_variable() -> None:
    compose = (env.PROJECT / "docker-compose.yml").read_text()
    readme = (env.PROJECT / "README.md").read_text()
    local_only = {"AUTH_DEV_LOGIN", "ALLOWED_HOSTS", "WORKER_NAME", "TRAINER_CACHE_DIR"}
    for name in variables():
        assert f"`{name}`" in readme, name
        assert name in local_only or f"  {name}: " in compose, name


def test_every_secret_is_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / ".env"
    assert env.main(target) == 0
    written = {name: value for _, name, value in ASSIGNMENT.findall(target.read_text())}
    ring, _, key = written["ARTIFACT_HMAC_KEYS"].partition(":")
    assert ring == "k1"
    assert len(base64.b64decode(key)) >= MIN_KEY_BYTES
    secrets = [written[name] for name, (_, value) in example().items() if value == "change-me"] + [key]
    assert len(secrets) >= 7
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in secrets)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not any(secret in capsys.readouterr().out for secret in secrets)


def test_an_env_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / ".env"
    target.write_text("MINE=1\nARTIFACT_HMAC_KEYS_FILE=/run/keys\n")
    assert env.main(target) == 1
    assert target.read_text() == "MINE=1\nARTIFACT_HMAC_KEYS_FILE=/run/keys\n"
    assert "stays as it is" in capsys.readouterr().out


def test_an_env_of_an_earlier_version_gets_the_keys_that_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / ".env"
    target.write_text("MINE=1\n# ARTIFACT_HMAC_KEYS=")
    assert env.main(target) == 0
    before, added = target.read_text().rsplit("\n", 2)[0], target.read_text().splitlines()[-1]
    assert before == "MINE=1\n# ARTIFACT_HMAC_KEYS="
    name, _, keys = added.partition("=")
    assert name == "ARTIFACT_HMAC_KEYS"
    KeyRing.parse(keys)
    said = capsys.readouterr().out
    assert "ARTIFACT_HMAC_KEYS" in said
    assert keys not in said
    assert env.main(target) == 1
