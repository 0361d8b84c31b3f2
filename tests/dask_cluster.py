"""A Dask cluster on loopback: a scheduler and workers in processes of their own, as docs/operations.md has
them started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from deploy import ports
from deploy.env import PROJECT
from services.trainer import cluster_software

HOST = "127.0.0.1"
READY_S = 120


class Cluster:
    """`address`: the scheduler's; its processes write their logs into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.free(1)[0]
        self.address = f"tcp://{HOST}:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.nannies: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int) -> None:
        """Start the scheduler and so many workers, without waiting for them."""
        if self.scheduler is None:
            where = ["--host", HOST, "--port", str(self.port)]
            self.scheduler = self._begun("scheduler", "scheduler", *where)
        while len(self.nannies) < workers:
            name = f"worker-{len(self.nannies)}"
            options = ["--nthreads", "1", "--memory-limit", "2GiB", "--name", name, "--host", HOST]
            local = ["--local-directory", str(self.folder), "--preload", "services.trainer.cluster_worker"]
            self.nannies.append(self._begun(name, "worker", self.address, *options, *local))

    def wait(self) -> None:
        """Until all workers are there."""
        with Client(self.address, timeout=READY_S, set_as_default=False) as client:
            client.wait_for_workers(len(self.nannies), timeout=READY_S)

    def kill_worker(self, number: int) -> None:
        """SIGKILL for the process that computes; its nanny, which is left, starts another."""
        for child in psutil.Process(self.nannies[number].pid).children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()

    def stop(self) -> None:
        """All of it, at once: it holds nothing that anybody wants, and says goodbye for seconds."""
        for process in [*self.nannies, *([self.scheduler] if self.scheduler else [])]:
            tree = psutil.Process(process.pid)
            for one in (tree, *tree.children(recursive=True)):  # the nanny first: it starts what is missing
                one.kill()
            process.wait()

    def _begun(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(PROJECT)}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *command, "--no-dashboard"],
                env=environ | threads,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def processing(dask_scheduler: Any) -> list[str]:
    """On the scheduler: the tasks that workers compute."""
    return [str(key) for key, task in dask_scheduler.tasks.items() if task.state == "processing"]


def steps_taken(dask_scheduler: Any) -> int:
    """On the scheduler: how often the state of a task has changed."""
    return int(dask_scheduler.transition_counter)


def never_ends() -> None:
    """On a worker."""
    threading.Event().wait()


def pretend(version: str | None) -> None:
    """On a worker: that its pandas is of this version, or what it is."""
    cluster_software.here.cache_clear()
    if version is not None:
        cluster_software.here()["pandas"] = version


@contextlib.contextmanager
def running(folder: Path, workers: int) -> Iterator[Cluster]:
    """One with so many workers of one thread each, soon (`wait`), for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder)
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.stop()
