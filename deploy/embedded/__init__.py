"""Postgres, Valkey and an S3 server from Python wheels: no containers, no system packages.

`servers(directory)` runs the three for as long as a `with` block lasts and yields the variables
(shared/settings.py) under which services find them:

    with embedded.servers(Path("data")) as env:
        env["DATABASE_URL"], env["REDIS_URL"], env["S3_ENDPOINT_URL"] …

Tests use it so; `python -m deploy.local` supervises the same programs for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy import ports
from deploy.embedded import postgres, s3, valkey
from deploy.embedded.credentials import Credentials, load_credentials
from deploy.processes import Program, Running

__all__ = ["Credentials", "connection_variables", "load_credentials", "server_programs", "servers"]

SERVERS = ("postgres", "valkey", "s3")


def server_programs(
    directory: Path, credentials: Credentials, port: dict[str, int], *, durable: bool = True
) -> dict[str, Program]:
    """The three servers by name, with data under `directory` and listening on `port[name]`.

    `durable=False` trades safety against power loss for speed: for tests.
    """
    return {
        "postgres": postgres.program(directory / "postgres", credentials, port["postgres"], durable=durable),
        "valkey": valkey.program(directory / "valkey", credentials, port["valkey"], durable=durable),
        "s3": s3.program(directory / "s3", credentials, port["s3"]),
    }


def connection_variables(credentials: Credentials, port: dict[str, int]) -> dict[str, str]:
    """How services reach the embedded servers, by environment variable.

    `API_DATABASE_URL` and `WORKER_DATABASE_URL` are logins that `python -m shared.db.migrate` makes.
    """
    return (
        postgres.variables(credentials, port["postgres"])
        | valkey.variables(credentials, port["valkey"])
        | s3.variables(credentials, port["s3"])
    )


@contextmanager
def servers(directory: Path, *, durable: bool = False) -> Iterator[dict[str, str]]:
    """Run all three servers on free loopback ports; yields their connection variables.

    `directory` is made if missing and keeps data, credentials (0600) and logs; a second run on it
    finds what the first one stored. Raises ProgramFailed with the last log lines of a server that
    does not start.
    """
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials = load_credentials(directory)
    port = dict(zip(SERVERS, ports.free(len(SERVERS)), strict=True))
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        running = []
        for program in server_programs(directory, credentials, port, durable=durable).values():
            server = Running(program, directory / "logs")
            stack.callback(server.stop)
            running.append(server)

        # Preparing (initdb) may take seconds and is done side by side; starting is done here, in the
        # thread that lives as long as the block: the kernel ends a child when that thread ends.
        list(pool.map(Running.prepare, running))
        for server in running:
            server.start()
        list(pool.map(Running.wait_ready, running))
        yield connection_variables(credentials, port)
