"""`make smoke-compose`: what it asks the engine for. The round itself needs one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy.env import PROJECT
from tests.compose import engine, smoke
from tests.compose.trained import Held


def test_nothing_of_this_shell_changes_what_the_files_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose takes a variable from the environment before it takes it from the file of variables."""
    monkeypatch.setenv("POSTGRES_PASSWORD", "another stack's")
    monkeypatch.setenv("API_PORT", "8000")
    monkeypatch.setenv("COMPOSE_FILE", "docker-compose.yml:deploy/compose.embedded-s3.yml")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "another")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    passed = engine.environment()
    assert {"PATH", "COMPOSE_FILE", "DOCKER_HOST"} <= passed.keys()
    assert not {"POSTGRES_PASSWORD", "API_PORT", "COMPOSE_PROJECT_NAME"} & passed.keys()


def test_what_the_engine_says_of_a_failure_is_told() -> None:
    with pytest.raises(engine.EngineFailed, match=r"sh -c .* ended with 3:\nno space"):
        engine.call("sh", "-c", "echo no space >&2; exit 3")
    with pytest.raises(engine.EngineFailed, match="there is no no-such-engine"):
        engine.call("no-such-engine", "version")


def test_every_round_has_a_project_secrets_and_ports_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = smoke.Smoke(tmp_path / "a"), smoke.Smoke(tmp_path / "b")
    variables = (tmp_path / "a" / "smoke.env").read_text()
    assert "change-me" not in re.sub(r"(?m)^#.*$", "", variables)
    assert (tmp_path / "a" / "smoke.env").stat().st_mode & 0o777 == 0o600
    assert one.compose._command != other.compose._command
    assert one.token != other.token


def test_a_fit_is_found_by_its_owner() -> None:
    held = Held("id", 1, "3f2a9c:17")
    assert (held.host, held.pid) == ("3f2a9c", 17)


def test_the_services_that_are_ours_are_those_that_begin_as_nobody() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    assert {name for name in services if services[name].get("user") != smoke.NOBODY} == set(smoke.SERVERS)
    assert int(services["trainer"]["stop_grace_period"].removesuffix("s")) > 20, "longer than DRAIN_S"
