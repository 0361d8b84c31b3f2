"""docs/operations.md: its commands do what it says, on the local stack's servers and with what they hold."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
import yaml

from deploy import embedded, holder
from deploy.embedded.credentials import FILE
from deploy.env import PROJECT
from deploy.ports import free
from deploy.processes import Running
from deploy.stack import PORTS_FILE
from tests.integration.installation import inhabited
from tests.integration.signatures import SETTING
from tests.runbook import RUNBOOK, blocks


class Data:
    """A data directory whose servers run, as `make up` would have them, with a user's things in them."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self.directory, self.env = directory, env


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    (directory / FILE).write_bytes(msgspec.json.encode({"artifact_hmac_keys": SETTING}))
    (directory / FILE).chmod(0o600)
    credentials = embedded.load_credentials(directory)
    names = ("api", *embedded.SERVERS, "trainer", "packager")
    port_of = dict(zip(names, free(len(names)), strict=True))
    (directory / PORTS_FILE).write_bytes(msgspec.json.encode(port_of))
    programs = embedded.server_programs(directory, credentials, port_of, durable=False)
    running = [Running(program, directory / "logs") for program in programs.values()]
    env = {"PATH": os.environ["PATH"]} | embedded.connection_variables(credentials, port_of)

    async def settle() -> None:
        async with inhabited(env):
            pass

    with holder.held(directory):
        try:
            for server in running:
                server.prepare()
                server.start()
            for server in running:
                server.wait_ready()
            asyncio.run(settle())
            yield Data(directory, env)
        finally:
            for server in running:
                server.stop()


def test_the_runbooks_commands(data: Data, tmp_path: Path) -> None:
    """In order, as they stand there. That what was restored is whole, `make check` says in them
    (tests/integration/test_backup.py compares it row by row)."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DATA_DIR": str(data.directory),
        "BACKUPS": str(tmp_path / "backups"),
        "NEW_DATA_DIR": str(tmp_path / "new"),
    }
    found = blocks("local")
    assert len(found) == 4
    said = [block.run(environ) for block in found]
    assert "needed by rows      9 objects" in said[1]
    assert "3 models carry a signature of test that holds" in said[1]
    assert "3 of test were signed anew with k2" in said[2]
    secrets = msgspec.json.decode((data.directory / FILE).read_bytes(), type=dict[str, str])
    assert secrets["artifact_hmac_keys"].count(":") == 1
    assert "test:" not in secrets["artifact_hmac_keys"]
    assert secrets["auth_jwt_previous_secret"] == ""


def test_every_command_in_it_is_one_that_there_is() -> None:
    text = RUNBOOK.read_text()
    code = "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)) + "\n".join(
        re.findall(r"`([^`\n]+)`", text)
    )
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    asked = set(re.findall(r"\bmake ([a-z-]+)\b", code))
    assert {"backup", "restore", "check", "verify", "resign", "rotate"} <= asked <= targets
    services = set(yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"])
    for line in re.findall(r"docker compose up -d --no-deps --wait (.+)", code):
        assert set(line.split()) <= services
    for module in set(re.findall(r"python -m ([a-z._]+)", code)):
        spec = find_spec(module)
        assert spec is not None, module
        assert not spec.submodule_search_locations or find_spec(f"{module}.__main__"), module
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (RUNBOOK.parent / link).resolve().exists(), link


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("backup", "python -m shared.backup take /backups"),
        ("restore", "python -m shared.backup restore /backups"),
        ("verify", "python -m shared.backup verify /backups"),
        ("check", "python -m shared.backup check"),
        ("resign", "packager python -m shared.resign"),
    ],
)
def test_in_compose_it_is_run_in_a_container(target: str, runs: str, tmp_path: Path) -> None:
    command = ["make", "-n", target, "STACK=compose", f"TO={tmp_path}"]
    said = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    assert runs in said
    assert "docker compose run --rm -T" in said
    if "/backups" in runs:
        assert f'-v "{tmp_path}:/backups"' in said
        assert '--user "$(id -u):$(id -g)"' in said
    assert ".venv" not in said
