"""Commands on the local stack's data, whether it runs or not: `make backup`, `make restore`, `make check`.

    python -m deploy.operate [--data-dir DIR] MODULE ARGUMENT…

A stack that runs on DIR is used as it is. Where none does, the servers that the command needs are started on
DIR for it and ended after it. Servers that the environment names (DATABASE_URL, S3_ENDPOINT_URL) are used
from there, as `make up` does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from deploy import embedded, holder
from deploy.local import DEFAULT_DIRECTORY
from deploy.processes import PROJECT, ProgramFailed, Running
from deploy.stack import PORTS_FILE, SIGNING, Stack, build, external, make_directory

NEEDED = ("postgres", "s3")
"""What holds data; Redis holds none that would be missed."""
FAILED = 2


def on_running(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the stack that runs on a directory. Raises ProgramFailed."""
    credentials = embedded.load_credentials(directory)
    port_of = msgspec.json.decode((directory / PORTS_FILE).read_bytes(), type=dict[str, int])
    given = external(environ, credentials)
    signing = (
        {}
        if environ.get(SIGNING) or environ.get(f"{SIGNING}_FILE")
        else {SIGNING: credentials.artifact_hmac_keys}
    )
    return dict(environ) | embedded.connection_variables(credentials, port_of) | given | signing


def with_servers(stack: Stack, directory: Path, command: Sequence[str]) -> int:
    """Run a command on the stack's servers, started for it. Raises ProgramFailed."""
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
        return run(command, stack.environ)


def run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Its exit code. It may be called from anywhere: paths it is given are the caller's."""
    found = os.pathsep.join(filter(None, (str(PROJECT), environ.get("PYTHONPATH"))))
    return subprocess.run(command, env=dict(environ) | {"PYTHONPATH": found}, check=False).returncode


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.operate")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY, help="default: .trainyard")
    parser.add_argument("module", choices=("shared.backup", "shared.resign"))
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    command = [sys.executable, "-m", options.module, *options.arguments]
    try:
        directory = make_directory(options.data_dir)
        try:
            with holder.held(directory):
                holder.end_leftovers(directory)
                stack = build(os.environ, directory, None, dev_login=False)
                return with_servers(stack, directory, command)
        except holder.AlreadyRunning:
            return run(command, on_running(directory, os.environ))
    except ProgramFailed as failed:
        print(failed, file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
