"""The product's own processes on servers of their own, as many of each kind as a benchmark wants.

Postgres, Valkey and the store run as `make up` runs them, durable; the services with the settings they are
shipped with, but for what is said here. Nothing supervises them: what dies fails the benchmark.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy import embedded, ports
from deploy.embedded import Credentials, load_credentials, server_programs
from deploy.ports import HOST
from deploy.processes import PROJECT, Program, Running
from deploy.stack import answers_ok

READY_WITHIN_S = 300.0
"""A trainer imports its libraries first; several at once take their time."""

SHIPPED = {
    "AUTH_DEV_LOGIN": "true",
    # counted, as always, and never reached: a benchmark asks oftener than a person
    "RATE_LIMIT_READS_PER_MIN": "1000000000",
    "RATE_LIMIT_WRITES_PER_MIN": "1000000000",
}


@dataclass
class Product:
    """Processes by name: `postgres`, `valkey`, `s3`, `api`, `trainer-1` …; `env` holds every variable, the
    owner's DATABASE_URL among them, which no service is given."""

    directory: Path
    credentials: Credentials
    port_of: dict[str, int]
    env: dict[str, str]
    running: dict[str, Running] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port_of['api']}"

    def start(self, *names: str, module: Sequence[str] = (), **extra: str) -> None:
        """Start services and wait until each answers. `module`: another than the service's, with its
        arguments; `extra`: variables for these alone."""
        for name in names:
            self._begin(name, self._service(name, module, extra))
        for name in names:
            self.running[name].wait_ready()

    def stop(self, *names: str) -> None:
        for name in names:
            self.running.pop(name).stop()

    def pid(self, name: str) -> int:
        pid = self.running[name].pid
        assert pid is not None, f"{name} does not run"
        return pid

    def check(self) -> None:
        """Raise where a process has ended that nobody ended: what it was measured without is no figure."""
        for name, process in self.running.items():
            if (code := process.exit_code()) is not None:
                raise RuntimeError(process.report(f"{name} ended with {code}"))

    def seconds(self, *names: str) -> float:
        """Processor time that these and all they started have taken (default: everything)."""
        return sum(tree_seconds(self.pid(name)) for name in names or self.running)

    def _begin(self, name: str, program: Program) -> None:
        process = Running(program, self.directory / "logs")
        process.prepare()
        process.start()
        self.running[name] = process

    def _service(self, name: str, module: Sequence[str], extra: Mapping[str, str]) -> Program:
        kind = name.partition("-")[0]
        if name not in self.port_of:
            self.port_of[name] = ports.free(1)[0]
        port = self.port_of[name]
        path = "/health/ready" if kind != "api" else "/health/live"
        mine = {"PORT": str(port)} if kind == "api" else {"METRICS_PORT": str(port), "WORKER_NAME": name}
        known = {key: value for key, value in self.env.items() if key != "DATABASE_URL"}
        return Program(
            name=name,
            command=[sys.executable, "-m", *(module or [f"services.{kind}"])],
            environ={**known, **mine, **extra},
            ready=lambda _: answers_ok(port, path),
            orphan_signal=signal.SIGKILL,
            kill_after_s=30,
            ready_within_s=READY_WITHIN_S,
        )


@contextlib.contextmanager
def running(
    *names: str, postgres: Mapping[str, str] | None = None, store: Mapping[str, str] | None = None, **env: str
) -> Iterator[Product]:
    """Servers, a migrated database, buckets and these services, for as long as the block lasts.

    `postgres`: settings of the server; `store`: the S3_* variables of another store than the embedded one;
    `env`: variables of all services.
    """
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder, contextlib.ExitStack() as stack:
        directory = Path(folder)
        credentials = load_credentials(directory)
        servers = [name for name in embedded.SERVERS if name != "s3" or not store]
        port_of = dict(zip((*embedded.SERVERS, "api"), ports.free(4), strict=True))
        variables = embedded.connection_variables(credentials, port_of) | dict(store or {})
        product = Product(directory, credentials, port_of, {})
        stack.callback(_stop, product)
        programs = server_programs(directory, credentials, port_of)
        programs["postgres"] = _with_settings(programs["postgres"], postgres or {})
        for name in servers:
            product._begin(name, programs[name])
        for name in servers:
            product.running[name].wait_ready()
        product.env = {
            "PATH": os.environ["PATH"],
            "HOST": HOST,
            "AUTH_JWT_SECRET": credentials.auth_jwt_secret,
            "ARTIFACT_HMAC_KEYS": credentials.artifact_hmac_keys,
            "TRAINER_CACHE_DIR": str(directory / "cache"),
            **SHIPPED,
            **variables,
            **env,
        }
        # what they say of going well is of no use here; of going wrong, their exit code
        for command in ("shared.db.migrate", "shared.storage"):
            subprocess.run(
                [sys.executable, "-m", command],
                env=product.env,
                cwd=PROJECT,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        product.start(*names)
        yield product
        product.check()


def _stop(product: Product) -> None:
    """Services first, so that none complains of servers that went away."""
    for name in sorted(product.running, key=lambda name: name in embedded.SERVERS):
        product.running[name].stop()


def _with_settings(program: Program, settings: Mapping[str, str]) -> Program:
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return dataclasses.replace(program, command=[*program.command, *options])


def tree_seconds(pid: int) -> float:
    """Processor time of a process and all it started, those that have ended and were waited for included."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total
