"""Every process of a deployment, each started here, so that each can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from deploy import embedded, ports
from deploy.embedded import load_credentials, server_programs
from deploy.ports import HOST
from deploy.processes import PROJECT, Program, Running
from deploy.stack import answers_ok
from tests.chaos.backstage import Backstage
from tests.chaos.rounds import LEASE_S, LONG
from tests.chaos.steps import SCRIPT

TRAINERS = ("trainer-1", "trainer-2")
PACKAGERS = ("packager-1", "packager-2")
WORKERS = TRAINERS + PACKAGERS
SLOTS = 2
MEMORY_BYTES = 400 * 2**20
DRAIN_S = 2.0 if LONG else 1.0
MODULES = {"api": "services.api", "trainer": "tests.chaos.trainer", "packager": "services.packager"}


@dataclass
class Fleet:
    """Programs by name: `postgres`, `valkey`, `s3`, `api`, `trainer-1` …; `env` is the services'."""

    directory: Path
    env: dict[str, str]
    back: Backstage
    servers: dict[str, Program]
    port_of: dict[str, int]
    running: dict[str, Running] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """What was told to end, and did."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port_of['api']}"

    # --- starting and ending ---

    def start(self, *names: str, module: str | None = None) -> None:
        """Start what does not run, and wait until it answers. `module`: another one than usual."""
        started = []
        for name in names:
            if name in self.running and self.running[name].exit_code() is None:
                continue
            program = self.servers.get(name) or self._service(name, module)
            self.running[name] = Running(program, self.directory / "logs")
            self.running[name].prepare()
            self.running[name].start()
            self.ended.discard(name)
            started.append(name)
        for name in started:
            self.running[name].wait_ready()

    def stop_and_start(self, *names: str, module: str | None = None) -> None:
        """In order; `module` as in `start`."""
        for name in names:
            self.running.pop(name).stop()
        self.start(*names, module=module)

    def _service(self, name: str, module: str | None) -> Program:
        kind = name.partition("-")[0]
        port, path = self.port_of[name], "/health/ready" if kind != "api" else "/health/live"
        self.starts[name] = self.starts.get(name, 0) + 1
        extra = {"METRICS_PORT": str(port), "WORKER_NAME": self.owner(name)} if kind != "api" else {}
        return Program(
            name=name,
            command=[sys.executable, "-m", module or MODULES[kind]],
            environ=self.env | extra,
            ready=lambda _: answers_ok(port, path),
            orphan_signal=signal.SIGKILL,
            kill_after_s=DRAIN_S + 10,
        )

    def owner(self, name: str) -> str:
        """The name under which the present process of a worker claims."""
        return f"{name}.{self.starts.get(name, 0)}"

    def pid(self, name: str) -> int:
        pid = self.running[name].pid
        assert pid is not None
        return pid

    def signal(self, name: str, number: signal.Signals) -> float:
        """Send a signal to this process alone, and not to its children; the time it was."""
        at = time.time()
        os.kill(self.pid(name), number)
        return at

    def kill(self, name: str) -> float:
        """SIGKILL, and wait until it is gone; the time of the kill."""
        at = self.signal(name, signal.SIGKILL)
        self.wait_exit(name)
        return at

    def wait_exit(self, name: str, timeout_s: float = 60) -> int:
        process = self.running[name].process
        assert process is not None
        self.ended.add(name)
        return process.wait(timeout_s)

    def died(self) -> list[str]:
        """What has ended although nobody told it to."""
        return [n for n, r in self.running.items() if n not in self.ended and r.exit_code() is not None]

    def descendants(self, name: str) -> list[psutil.Process]:
        """Its children, theirs, and so on, at this moment."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid(name)).children(recursive=True)
        return []

    def stop(self) -> None:
        """Everything, services first; what does not end is killed."""
        for name in [n for n in self.running if n not in self.servers] + list(self.servers):
            if name in self.running:
                with contextlib.suppress(ProcessLookupError):
                    self.signal(name, signal.SIGCONT)
                self.running[name].stop()

    def heal(self) -> None:
        """All is well again: the store passes, everything runs, every fit is quick."""
        self.back.mend_store()
        self.script({})
        for name in self.running:
            with contextlib.suppress(ProcessLookupError):
                self.signal(name, signal.SIGCONT)
        self.start(*self.servers, "api", *WORKERS)

    # --- what fits do ---

    def script(self, acts: Mapping[str, list[object]]) -> None:
        """model name → [function of `tests.chaos.steps`, its arguments], for fits that begin from now on."""
        path = Path(self.env["TRAINER_CACHE_DIR"], SCRIPT)
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(dict(acts)))
        draft.replace(path)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that only waits to be reaped does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 60) -> float:
    """Ask until it is so; the seconds it took. Fails saying `what` was waited for."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"waited {timeout_s:g} s in vain: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


@contextlib.contextmanager
def fleet(directory: Path) -> Iterator[Fleet]:
    """Three servers, the API, two trainers and two packagers, for as long as the block lasts.

    The servers are durable: what one has confirmed must be there after it was killed.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials = load_credentials(directory)
    names = (*embedded.SERVERS, "api", *WORKERS)
    port_of = dict(zip(names, ports.free(len(names)), strict=True))
    servers = embedded.connection_variables(credentials, port_of)
    cache = directory / "cache"
    cache.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        programs = server_programs(directory, credentials, port_of)
        fleet = Fleet(directory, {}, Backstage(servers), programs, port_of)
        stack.callback(fleet.stop)
        fleet.start(*embedded.SERVERS)
        stack.enter_context(fleet.back)
        fleet.env = {
            "PATH": os.environ["PATH"],
            "HOST": HOST,
            "PORT": str(port_of["api"]),
            "AUTH_DEV_LOGIN": "true",
            "AUTH_JWT_SECRET": credentials.auth_jwt_secret,
            "RATE_LIMIT_READS_PER_MIN": "0",  # one user watches everything, all the time
            "RATE_LIMIT_WRITES_PER_MIN": "0",
            "ARTIFACT_HMAC_KEYS": credentials.artifact_hmac_keys,
            "LEASE_S": str(LEASE_S),
            "DRAIN_S": str(DRAIN_S),
            "TRAINER_SLOTS": str(SLOTS),
            # fits here misbehave in ways that the sandbox forbids: start processes, kill the trainer
            "TRAINER_SANDBOX": "off",
            "TRAINER_MEMORY_BYTES": str(MEMORY_BYTES),
            "TRAINER_CACHE_DIR": str(cache),
            **servers,
            "S3_ENDPOINT_URL": fleet.back.proxy.url,
        }
        for command in ("shared.db.migrate", "shared.storage"):
            subprocess.run([sys.executable, "-m", command], env=fleet.env, cwd=PROJECT, check=True)
        fleet.back.watch_database()
        del fleet.env["DATABASE_URL"]  # the owner's login stays with the migrations
        fleet.start("api", *WORKERS)
        yield fleet
