"""The whole of Trainyard on one machine, without containers: `make up`.

    python -m deploy.local [--port N] [--data-dir DIR] [--no-dev-login]

Runs Postgres, Valkey and an S3 server from wheels, migrates, and runs API, trainer and packager on
them, all on 127.0.0.1. Whatever dies is started again; Ctrl-C or SIGTERM ends everything in order, a
second Ctrl-C at once. Data and logs live in DIR and survive.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from deploy import holder
from deploy.processes import PROJECT, ProgramFailed
from deploy.stack import Stack, build, make_directory
from deploy.supervise import Supervisor

DEFAULT_DIRECTORY = PROJECT / ".trainyard"
REACH_S = 5.0
SAME_KEYPRESS_S = 0.5
"""A signal to the whole group comes again through make: that is not a second Ctrl-C."""


def say(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError:  # the terminal is gone; there is still a stack to end in order
        pass


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--port", type=port_number, help="the API's port (default: 8000, or a free one)")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY, help="default: .trainyard")
    parser.add_argument("--no-dev-login", action="store_true", help="only an identity provider's tokens")
    return parser.parse_args(argv)


def port_number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return number


async def bring_up(stack: Stack, supervisor: Supervisor) -> None:
    """Each part as soon as what it needs is there. Raises ProgramFailed."""
    environ = stack.environ
    await together(*(reach(variable, *address) for variable, address in stack.elsewhere.items()))

    async def database() -> None:
        if "postgres" in stack.servers:
            await supervisor.start(stack.servers["postgres"])
        await supervisor.run("migrate", stack.migrate, environ)

    async def store() -> None:
        if "s3" in stack.servers:
            await supervisor.start(stack.servers["s3"])
        await supervisor.run("buckets", stack.buckets, environ)

    async def queue() -> None:
        if "valkey" in stack.servers:
            await supervisor.start(stack.servers["valkey"])

    await together(database(), store(), queue())
    await together(*(supervisor.start(service) for service in stack.services.values()))


async def reach(variable: str, host: str, port: int) -> None:
    """Raise ProgramFailed where nothing listens: plainer than what each service would say."""
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError):
        raise ProgramFailed(f"nothing answers at {host}:{port}, which {variable} names") from None


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """All at once; the first failure ends the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except* ProgramFailed as failed:
        raise failed.exceptions[0] from None


async def run(stack: Stack, directory: Path, say: Callable[[str], None] = say) -> int:
    """Run until a signal comes; the exit code. `directory` is held by the caller."""
    supervisor = Supervisor(directory / "logs", say)
    asked = asyncio.Event()
    catch_signals(asked, supervisor, say)
    holder.write_holder(directory, None, {})
    coming = asyncio.create_task(bring_up(stack, supervisor))
    waiting = asyncio.create_task(asked.wait())
    watching = asyncio.create_task(record_children(directory, stack, supervisor, coming))
    try:
        await asyncio.wait({coming, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            coming.result()
            say(f"Trainyard is ready at {stack.url}")
            await waiting
        say("Stopping")
        return 0
    except ProgramFailed as failed:
        say(f"Trainyard could not start: {failed}")
        return 1
    finally:
        for task in (coming, waiting, watching):
            task.cancel()
        await asyncio.gather(coming, waiting, watching, return_exceptions=True)
        await supervisor.stop([list(stack.services), list(stack.servers)])


async def record_children(
    directory: Path, stack: Stack, supervisor: Supervisor, coming: asyncio.Task[None]
) -> None:
    """Keep `run.json` true, for the next start and for `make demo`."""
    known: tuple[str | None, dict[str, int]] = (None, {})
    while True:
        children = {name: r.pid for name, r in supervisor.running.items() if r.pid is not None}
        url = stack.url if coming.done() else None
        if (url, children) != known:
            known = (url, children)
            holder.write_holder(directory, url, children)
        await asyncio.sleep(0.1)


def catch_signals(asked: asyncio.Event, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    first: float | None = None

    def stop(number: signal.Signals) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            asked.set()
        elif number == signal.SIGINT and now - first > SAME_KEYPRESS_S:
            say("Killing what is left")
            supervisor.kill()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)


def main(argv: list[str]) -> int:
    options = arguments(argv)
    try:
        directory = make_directory(options.data_dir)
        with holder.held(directory):
            if ended := holder.end_leftovers(directory):
                say(f"Ended what a killed run had left: {', '.join(ended)}")
            stack = build(os.environ, directory, options.port, dev_login=not options.no_dev_login)
            parts = ", ".join([*stack.servers, *stack.services])
            say(f"Starting {parts}; data and logs are in {directory}, Ctrl-C stops it")
            return asyncio.run(run(stack, directory))
    except (ProgramFailed, holder.AlreadyRunning) as failed:
        say(str(failed))
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
