"""Commands on the local stack's data, whether it runs or not: `make backup`, `make restore`, `make check`.

    python -m deploy.operate [--data-dir DIR] backup ARGUMENT…     as python -m shared.backup
    python -m deploy.operate [--data-dir DIR] resign [--check]     as python -m shared.resign
    python -m deploy.operate [--data-dir DIR] check [--quick]      rows and objects, then signatures

A stack that runs on DIR is used as it is. Where none does, the servers that the command needs are started on
DIR for it and ended after it. Servers that the environment names (DATABASE_URL, S3_ENDPOINT_URL) are used
from there, as `make up` does.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from deploy import embedded, holder
from deploy.local import DEFAULT_DIRECTORY
from deploy.processes import ProgramFailed, Running
from deploy.stack import PORTS_FILE, SIGNING, Stack, build, external, make_directory
from shared import resign
from shared.backup import __main__ as backup

NEEDED = ("postgres", "s3")
"""What holds data; Redis holds none that would be missed."""
FAILED = 2


def on_running(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the stack that runs on a directory. Raises ProgramFailed."""
    credentials = embedded.load_credentials(directory)
    port_of = msgspec.json.decode((directory / PORTS_FILE).read_bytes(), type=dict[str, int])
    full = dict(environ) | embedded.connection_variables(credentials, port_of)
    if not environ.get(SIGNING) and not environ.get(f"{SIGNING}_FILE"):
        full[SIGNING] = credentials.artifact_hmac_keys
    return full | external(environ, credentials)


@contextmanager
def servers_of(stack: Stack, directory: Path) -> Iterator[None]:
    """Those of a stack's servers that hold data run for the `with` block. Raises ProgramFailed."""
    with ExitStack() as opened:
        started = []
        for name in NEEDED:
            if name in stack.servers:
                server = Running(stack.servers[name], directory / "logs")
                server.prepare()
                opened.callback(server.stop)
                server.start()
                started.append(server)
        for server in started:
            server.wait_ready()
        yield


@contextmanager
def data_of(directory: Path, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The variables under which a directory's data is reached, for the `with` block. Raises ProgramFailed."""
    with ExitStack() as opened:
        try:
            opened.enter_context(holder.held(directory))
        except holder.AlreadyRunning:
            yield on_running(directory, environ)
            return
        holder.end_leftovers(directory)
        stack = build(environ, directory, None, dev_login=False)
        opened.enter_context(servers_of(stack, directory))
        yield stack.environ


def run(command: str, arguments: list[str], environ: Mapping[str, str]) -> int:
    """Its exit code."""
    if command == "backup":
        return backup.main(environ, arguments)
    if command == "resign":
        return resign.main(environ, arguments)
    found = backup.main(environ, ["check", *arguments])
    return found if found == backup.FAILED else max(found, resign.main(environ, ["--check"]))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.operate")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY, help="default: .trainyard")
    parser.add_argument("command", choices=("backup", "resign", "check"))
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    try:
        directory = make_directory(options.data_dir)
        with data_of(directory, os.environ) as environ:
            return run(options.command, options.arguments, environ)
    except ProgramFailed as failed:
        print(failed, file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
