"""Starts programs, starts again whatever dies by itself, and ends them in order."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from deploy.logs import LogWatch
from deploy.processes import Program, ProgramFailed, Running, say_exit

POLL_S = 0.05
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
"""A program that ran this long is no longer thought to be failing again and again."""


class Supervisor:
    """`say` gets one line at a time, for a person. All processes belong to the thread of the loop."""

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self.logs = logs
        self.say = say
        self.running: dict[str, Running] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, program: Program) -> None:
        """Start a program, wait until it answers, and keep it running from then on.

        Raises ProgramFailed with its last log lines if it does not come up.
        """
        running = Running(program, self.logs)
        await asyncio.to_thread(running.prepare)
        self.running[program.name] = running
        running.start()
        await self._until_ready(running)
        self._keepers.append(asyncio.create_task(self._keep(running)))
        self._keepers.append(asyncio.create_task(self._watch_log(running)))

    async def run(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Run a command to its end. Raises ProgramFailed with its last log lines if it fails."""
        running = Running(Program(name, command, environ, ready=lambda _: True), self.logs)
        self.running[name] = running
        running.start()
        await self._until_ended(running)
        del self.running[name]
        if code := running.exit_code():
            raise ProgramFailed(running.report(f"{name} failed ({say_exit(code)})"))

    async def stop(self, groups: Iterable[Sequence[str]]) -> None:
        """End the programs of each group together, one group after the other; what is in none, first."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        named = [list(group) for group in groups]
        others = [name for name in self.running if not any(name in group for group in named)]
        for group in [others, *named]:
            here = [self.running[name] for name in group if name in self.running]
            await asyncio.gather(*(asyncio.to_thread(running.stop) for running in here))

    def kill(self) -> None:
        """End everything at once."""
        for running in self.running.values():
            running.kill()

    async def _until_ready(self, running: Running) -> None:
        deadline = time.monotonic() + running.program.ready_within_s
        while not await asyncio.to_thread(running.is_ready):
            if time.monotonic() > deadline:
                raise ProgramFailed(
                    running.report(
                        f"{running.program.name} did not answer in {running.program.ready_within_s:g} s"
                    )
                )
            await asyncio.sleep(POLL_S)

    async def _until_ended(self, running: Running) -> int:
        while (code := running.exit_code()) is None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(POLL_S)
        return code

    async def _keep(self, running: Running) -> None:
        name, wait, since = running.program.name, FIRST_WAIT_S, time.monotonic()
        while True:
            code = await self._until_ended(running)
            running.kill()  # what it left behind would stand in the way of the next
            if time.monotonic() - since > STEADY_S:
                wait = FIRST_WAIT_S
            self.say(f"{name} ended ({say_exit(code)}); starting it again in {wait:g} s, see {running.log}")
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)
            since = time.monotonic()
            try:
                await asyncio.to_thread(running.prepare)
                running.start()
                await self._until_ready(running)
            except (ProgramFailed, OSError, subprocess.SubprocessError) as error:
                # Ended: the loop says so and tries again. Alive but silent: made to end.
                if running.exit_code() is None:
                    self.say(str(error).splitlines()[0])
                    running.kill()
                continue
            self.say(f"{name} is back")

    async def _watch_log(self, running: Running) -> None:
        watch = LogWatch(running.log, running.program.error_line)
        while True:
            for message in watch.look():
                self.say(f"{running.program.name}: {message}")
            await asyncio.to_thread(watch.bound)
            await asyncio.sleep(1)
