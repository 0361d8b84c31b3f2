"""What the local stack consists of: which servers, with which variables, and our services on them."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from deploy import embedded, ports
from deploy.embedded.postgres import API_LOGIN, WORKER_LOGIN
from deploy.ports import HOST
from deploy.processes import Program, ProgramFailed
from shared.errors import ConfigurationError
from shared.settings import without_files

PREFERRED_PORT = 8000
PORTS_FILE = "ports.json"
DRAIN_S = "3"
"""A person who pressed Ctrl-C waits this long for running fits; what is left goes on at the next start."""
DATABASE_URLS = ("DATABASE_URL", "API_DATABASE_URL", "WORKER_DATABASE_URL")
SIGNING = "ARTIFACT_HMAC_KEYS"
S3_KEYS = ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")


class Stack(Struct, frozen=True):
    """Programs by name. `migrate` needs the database, `buckets` the store, `services` everything."""

    url: str
    environ: dict[str, str]
    servers: dict[str, Program]
    migrate: list[str]
    buckets: list[str]
    services: dict[str, Program]
    elsewhere: dict[str, tuple[str, int]]
    """Servers that are not ours: variable → host and port."""


def build(environ: Mapping[str, str], directory: Path, port: int | None, *, dev_login: bool) -> Stack:
    """The stack for a data directory and an environment.

    A server whose address stands in `environ` is used from there, and none is started for it. `port`
    is the API's; None: the one of last time, else 8000, else any free one. Raises ProgramFailed where
    that port is taken or the variables given are incomplete.
    """
    try:
        environ = without_files(environ, (*DATABASE_URLS, "REDIS_URL", *S3_KEYS))
    except ConfigurationError as error:
        raise ProgramFailed(error.detail) from None
    credentials = embedded.load_credentials(directory)
    port_of = choose_ports(directory, port)
    given = external(environ, credentials)
    variables = embedded.connection_variables(credentials, port_of) | given
    servers = {
        name: program
        for name, program in embedded.server_programs(directory, credentials, port_of).items()
        if not is_given(name, given)
    }
    defaults = {
        "AUTH_JWT_SECRET": "" if environ.get("AUTH_JWKS_URL") else credentials.auth_jwt_secret,
        "AUTH_JWT_PREVIOUS_SECRET": credentials.auth_jwt_previous_secret,
        SIGNING: credentials.artifact_hmac_keys,
        "AUTH_DEV_LOGIN": "true",
        "DRAIN_S": DRAIN_S,
        "TRAINER_CACHE_DIR": str(directory / "cache"),
    }
    mine = {k: v for k, v in defaults.items() if not environ.get(k) and not environ.get(f"{k}_FILE")}
    full = dict(environ) | mine | variables
    full |= {"HOST": HOST, "PORT": str(port_of["api"]), "METRICS_HOST": HOST}
    if not dev_login:
        full["AUTH_DEV_LOGIN"] = "false"
    return Stack(
        url=f"http://{HOST}:{port_of['api']}",
        environ=full,
        servers=servers,
        migrate=[sys.executable, "-m", "shared.db.migrate"],
        buckets=[sys.executable, "-m", "shared.storage"],
        services=services(full, port_of),
        elsewhere=addresses(given),
    )


def services(environ: dict[str, str], port_of: Mapping[str, int]) -> dict[str, Program]:
    """Our own processes. The owner's database login stays with the migrations, and the keys that sign
    models with the workers."""
    drain_s = float(environ["DRAIN_S"])
    ours = {k: v for k, v in environ.items() if k != "DATABASE_URL"}

    def service(name: str, ready: Callable[[int], bool], **extra: str) -> Program:
        known = ours if name != "api" else {k: v for k, v in ours.items() if not k.startswith(SIGNING)}
        return Program(
            name=name,
            command=[sys.executable, "-m", f"services.{name}"],
            environ=known | extra,
            ready=ready,
            # Work in hand is taken over from Postgres, and children end with their trainer.
            orphan_signal=signal.SIGKILL,
            kill_after_s=drain_s + 5,
        )

    def worker(name: str) -> Program:
        port = port_of[name]
        return service(name, lambda _: answers_ok(port, "/health/ready"), METRICS_PORT=str(port))

    return {
        "api": service("api", lambda _: answers_ok(port_of["api"], "/health/ready", all_parts=True)),
        "trainer": worker("trainer"),
        "packager": worker("packager"),
    }


def external(environ: Mapping[str, str], credentials: embedded.Credentials) -> dict[str, str]:
    """The connection variables of servers that are not ours, completed where they can be.

    The logins of the API and the workers are made by the migrations if they are not given. Raises
    ProgramFailed for what is missing and cannot be guessed.
    """
    given = {name: environ[name] for name in ("REDIS_URL",) if environ.get(name)}
    if any(environ.get(name) for name in DATABASE_URLS):
        if not environ.get("DATABASE_URL"):
            raise ProgramFailed("DATABASE_URL is missing: the owner's login, for the migrations")
        owner = environ["DATABASE_URL"]
        logins = {
            "API_DATABASE_URL": with_login(owner, API_LOGIN, credentials.api_password),
            "WORKER_DATABASE_URL": with_login(owner, WORKER_LOGIN, credentials.worker_password),
        }
        given |= {"DATABASE_URL": owner} | {k: environ.get(k) or v for k, v in logins.items()}
    if environ.get("S3_ENDPOINT_URL"):
        if missing := [name for name in S3_KEYS if not environ.get(name)]:
            raise ProgramFailed(f"S3_ENDPOINT_URL is set, and {' and '.join(missing)} is not")
        given |= {name: environ[name] for name in ("S3_ENDPOINT_URL", *S3_KEYS)}
        given["S3_REGION"] = environ.get("S3_REGION") or "us-east-1"
    return given


def addresses(given: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Where the servers are that were given; one behind a socket file has no address."""
    default_ports = {"DATABASE_URL": 5432, "REDIS_URL": 6379, "S3_ENDPOINT_URL": 443}
    found = {}
    for variable, default_port in default_ports.items():
        parts = urlsplit(given.get(variable, ""))
        if parts.hostname:
            port = parts.port or (80 if parts.scheme == "http" else default_port)
            found[variable] = (parts.hostname, port)
    return found


def is_given(server: str, given: Mapping[str, str]) -> bool:
    variable = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL", "s3": "S3_ENDPOINT_URL"}[server]
    return variable in given


def with_login(url: str, login: str, password: str) -> str:
    """The same database for another login."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(login, safe='')}:{quote(password, safe='')}@{address}").geturl()


def choose_ports(directory: Path, wanted: int | None) -> dict[str, int]:
    """A port for each program, last time's where they are still free. Kept in `ports.json`."""
    names = ("api", *embedded.SERVERS, "trainer", "packager")
    file = directory / PORTS_FILE
    try:
        last = msgspec.json.decode(file.read_bytes(), type=dict[str, int])
    except (FileNotFoundError, msgspec.DecodeError):
        last = {}
    if wanted is not None and not ports.is_free(wanted):
        raise ProgramFailed(f"port {wanted} is taken by another program: give another PORT, or none")
    fresh = dict(zip(names, ports.free(len(names)), strict=True))
    chosen = {
        name: last[name] if name in last and ports.is_free(last[name]) else fresh[name] for name in names
    }
    if wanted is not None:
        chosen["api"] = wanted
    elif chosen["api"] == fresh["api"] and ports.is_free(PREFERRED_PORT):
        chosen["api"] = PREFERRED_PORT
    if len(set(chosen.values())) < len(names):  # the API's wish is where another part was last time
        chosen |= {name: fresh[name] for name in names if name != "api"}
    file.write_bytes(msgspec.json.encode(chosen))
    return chosen


def answers_ok(port: int, path: str, *, all_parts: bool = False) -> bool:
    """Whether GET answers 200, and with `all_parts` says "ok" for Postgres, Redis and storage each."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != http.HTTPStatus.OK:
            return False
        return not all_parts or parts_are_ok(body)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def parts_are_ok(body: bytes) -> bool:
    try:
        said = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return False
    return all(said.get(part) == "ok" for part in ("postgres", "redis", "storage"))


def make_directory(directory: Path) -> Path:
    """The data directory, private, as an absolute path. Raises ProgramFailed if it cannot be written."""
    directory = directory.expanduser().absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ProgramFailed(f"{directory} cannot be made: {error.strerror}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ProgramFailed(f"{directory} cannot be written to: give another DATA_DIR")
    return directory
