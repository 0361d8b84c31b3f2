"""What is asked of the container engine: `docker compose` on a project of its own, and `docker`."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from deploy.processes import PROJECT

CALL_S = 900
"""Only to catch what hangs; building everything for the first time takes minutes."""

PASSED_ON = (
    *("PATH", "HOME", "DOCKER_", "BUILDKIT_", "COMPOSE_FILE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""Of the environment. Anything else could change what the file means: compose takes a variable from there
before it takes it from the file of variables."""


class EngineFailed(Exception):
    """What was called, and what it said."""


class Container(NamedTuple):
    """As the engine sees it; `health` is empty where there is no check."""

    id: str
    service: str
    image: str
    user: str
    read_only: bool
    health: str
    restarts: int
    exit_code: int
    ended: float
    """When its process ended last, in seconds since the epoch; before the epoch where none has."""


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}


def call(*command: str, timeout_s: float = CALL_S) -> str:
    """Its standard output. Raises EngineFailed with what it said."""
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise EngineFailed(f"there is no {command[0]} on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{' '.join(command)} took more than {timeout_s:g} s") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise EngineFailed(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


class Compose:
    """One project: `docker-compose.yml`, or the files that COMPOSE_FILE names, with these variables."""

    def __init__(self, project: str, variables: Path) -> None:
        self._command = ("docker", "compose", "--project-name", project, "--env-file", str(variables))

    def __call__(self, *arguments: str) -> str:
        return call(*self._command, *arguments)

    def images(self) -> dict[str, str]:
        """Service → the image that it is built into, of those that are built here."""
        services = json.loads(self("config", "--format", "json"))["services"]
        return {name: service["image"] for name, service in services.items() if "build" in service}

    def has(self, service: str) -> bool:
        """Whether the image of a service that is not built here is on this machine, or can be brought."""
        with contextlib.suppress(EngineFailed):
            [image] = self("config", "--images", service).split()[-1:]
            call("docker", "image", "inspect", image)
            return True
        with contextlib.suppress(EngineFailed):
            self("pull", "--quiet", service)
            return True
        return False

    def containers(self, *services: str) -> list[Container]:
        """Those that run, in the order of their names."""
        ids = self("ps", "--quiet", *services).split()
        found = [container(identity) for identity in ids]
        return sorted(found, key=lambda one: (one.service, one.id))

    def sql(self, statement: str) -> list[list[str]]:
        """The rows of a statement, as the database's owner."""
        psql = ("psql", "--username", "postgres", "--no-psqlrc", "--tuples-only", "--no-align", "--command")
        answer = self("exec", "-T", "postgres", *psql, statement)
        return [line.split("|") for line in answer.splitlines() if line]


def container(identity: str) -> Container:
    [found] = json.loads(call("docker", "inspect", identity))
    state = found["State"]
    return Container(
        id=found["Id"],
        service=found["Config"]["Labels"]["com.docker.compose.service"],
        image=found["Config"]["Image"],
        user=found["Config"]["User"],
        read_only=found["HostConfig"]["ReadonlyRootfs"],
        health=state.get("Health", {}).get("Status", ""),
        restarts=found["RestartCount"],
        exit_code=state["ExitCode"],
        ended=dt.datetime.fromisoformat(state["FinishedAt"]).timestamp(),
    )


def image_bytes(name: str) -> int:
    """Unpacked, the layers that it shares with others included."""
    found: list[dict[str, Any]] = json.loads(call("docker", "image", "inspect", name))
    return int(found[0]["Size"])


def versions() -> str:
    engine = call("docker", "version", "--format", "{{.Server.Version}}").strip()
    return f"Docker {engine}, compose {call('docker', 'compose', 'version', '--short').strip()}"
