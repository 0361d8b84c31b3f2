"""The round itself: each step raises where what it looks for is not so, and says what it found."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy import ports
from deploy.demo.client import Client
from deploy.env import EXAMPLE, filled
from deploy.processes import PROJECT
from deploy.user_token import user_token, variable
from tests.bench.work import fits
from tests.compose import trained
from tests.compose.engine import Compose, EngineFailed, call, container, image_bytes
from tests.e2e import tables
from tests.monitoring.prometheus import Prometheus

EMAIL = "smoke@example.org"
TRAINERS, PACKAGERS = 4, 2
START_S = 300.0
"""Only to catch what hangs."""
LONG_ROWS = 8_000
LEARNING = ("sklearn", "pandas", "numpy", "scipy", "lightgbm", "xgboost", "catboost", "pyarrow", "torch")
"""What only the trainer's image has."""
NOBODY = "10001:10001"
WATCHED = ("--profile", "monitoring")
SERVERS = ("postgres", "redis", "s3")
"""They begin as their image's entry point wants; ours begin as nobody."""


class Smoke:
    """`folder` is scratch; what a later step compares is kept here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.sizes: dict[str, int] = {}
        self.api_port, s3_port, self.prometheus_port = ports.free(3)
        variables = folder / "smoke.env"
        variables.touch(mode=0o600)
        published = {"API_PORT": self.api_port, "S3_PORT": s3_port, "PROMETHEUS_PORT": self.prometheus_port}
        lines = [filled(EXAMPLE.read_text()), *(f"{name}={port}" for name, port in published.items())]
        variables.write_text("\n".join([*lines, ""]))
        self.token = user_token(variable("AUTH_JWT_SECRET", variables), EMAIL)
        self.compose = Compose(f"trainyard-smoke-{secrets.token_hex(3)}", variables)
        self.known: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def client(self) -> Client:
        return Client(self.url, self.token)

    def run(self) -> None:
        """Everything, in order. Nothing is left but the images, whatever happens."""
        try:
            for name, step in {
                "up --build --wait": self.up,
                "the images": self.images,
                "the demo": self.demo,
                f"--scale trainer={TRAINERS} --scale packager={PACKAGERS}": self.scale,
                "--profile monitoring": self.watch,
                "a trainer killed": self.kill,
                "the trainers updated, one after another": self.roll,
                "down and up again": self.again,
            }.items():
                with self._timed(name):
                    print(f"  {step()}", flush=True)
        except BaseException:
            print(self._last_words(), flush=True)
            raise
        finally:
            with self._timed("down --volumes"):
                self.compose(*WATCHED, "down", "--volumes", "--remove-orphans")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        print(f"{name} …", flush=True)
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
        print(f"  {self.seconds[name]:.1f} s", flush=True)

    def _last_words(self) -> str:
        try:
            return self.compose("logs", "--no-color", "--tail", "25")
        except EngineFailed as error:
            return str(error)

    # --- the steps ------------------------------------------------------------------------------

    def up(self) -> str:
        self.compose("up", "--build", "--wait")
        containers = self.compose.containers()
        for one in containers:
            assert one.health == "healthy", f"{one.service} is {one.health or 'not checked'}"
        return f"{len(containers)} containers, all healthy: {', '.join(c.service for c in containers)}"

    def images(self) -> str:
        """Sizes; who runs there, and what is not there."""
        built = self.compose.images()
        self.sizes = {image: image_bytes(image) for image in sorted(set(built.values()))}
        for one in self.compose.containers():
            if one.service not in SERVERS:
                assert (one.user, one.read_only) == (NOBODY, True), f"{one.service}: {one}"
        look = f"import importlib.util as u; print(*filter(u.find_spec, {LEARNING!r}))"
        for service in ("api", "packager"):
            found = self.compose("exec", "-T", service, "python", "-c", look).strip()
            assert not found, f"{service} has {found}"
        return ", ".join(f"{image} {size / 1e6:,.0f} MB" for image, size in self.sizes.items())

    def demo(self) -> str:
        """The same command as `make demo`, against this."""
        output = self.folder / "demo"
        command = [sys.executable, "-m", "deploy.demo", "--url", self.url, "--token", self.token]
        done = subprocess.run(
            [*command, "--output", str(output)], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        client = self.client()
        [model] = client.http.get("/models").json()["items"]
        self.known = {"model": model["id"], "sha256": model["sha256"], "task": model["task_id"]}
        client.close()
        return f"{len(list(output.iterdir()))} files taken home, one model saved"

    def scale(self) -> str:
        wanted = {"trainer": TRAINERS, "packager": PACKAGERS}
        scaled = [part for name, count in wanted.items() for part in ("--scale", f"{name}={count}")]
        self.compose("up", *scaled, "--no-recreate", "--wait")
        for name, count in wanted.items():
            healthy = [one for one in self.compose.containers(name) if one.health == "healthy"]
            assert len(healthy) == count, f"{len(healthy)} of {count} of {name} are healthy"
        return f"{TRAINERS} trainers and {PACKAGERS} packagers, all healthy"

    def watch(self) -> str:
        """Prometheus finds every replica by the name that its service has, and has nobody to alert of."""
        if not self.compose.has("prometheus"):
            return "not tried: the image of Prometheus is not to be had here"
        self.compose(*WATCHED, "up", "--wait", "--no-recreate", "--no-deps", "prometheus")
        found = Prometheus(f"http://127.0.0.1:{self.prometheus_port}")
        wanted = {"api": 1, "trainer": TRAINERS, "packager": PACKAGERS}
        until, up = time.monotonic() + START_S, {}
        while up != wanted:
            assert time.monotonic() < until, f"of {wanted} it sees {up}"
            time.sleep(1)  # it asks every fifteen
            up = {
                one["metric"]["job"]: int(one["value"][1])
                for one in found.instant("count by (job) (up == 1)")
            }
        slots = found.instant("sum(trainyard_slots{weight='heavy'})")[0]["value"][1]
        alerts = found.alerts()
        found.close()
        self.compose(*WATCHED, "rm", "--stop", "--force", "prometheus")
        assert set(alerts) <= {"SandboxIncomplete", "DiskFillsUp"}, alerts
        return f"Prometheus sees all {sum(wanted.values())} processes, {slots} slots, and alerts nobody"

    def kill(self) -> str:
        """SIGKILL to the process that has fits in hand, inside its container."""
        client = self.client()
        source = self.folder / "long.csv"
        fits.table(LONG_ROWS).to_csv(source, index=False)
        file_id = trained.uploaded(client, source)
        took: list[float] = []
        while not took:  # the engine takes its time to pass the kill on, and fits may end meanwhile
            took = self._killed(client, file_id)
        client.close()
        return (
            f"{len(took)} of its fits were begun again by another {max(took):.1f} s after its end at most,"
            " all models are done, and its container was started again"
        )

    def _killed(self, client: Client, file_id: str) -> list[float]:
        """Kill the trainer of a run's first fit; the seconds from its end, which the engine knows, until each
        of its fits was begun again, which the database does: both clocks are the machine's."""
        before = {one.id: one.restarts for one in self.compose.containers("trainer")}
        task = trained.begin(client, file_id, fits.TARGET, trained.LONG_MODELS)
        mine = _of_one_trainer(self.compose, task["task_id"])
        end_it = f"import os, signal; os.kill({mine[0].pid}, signal.SIGKILL)"
        call("docker", "exec", mine[0].host, "python", "-c", end_it)
        killed = self._clock()
        trained.ended(client, task)
        [identity] = [identity for identity in before if identity.startswith(mine[0].host)]
        _wait_restarted(identity, before[identity])
        ended = container(identity).ended
        return [begun - ended for begun in trained.taken_over(self.compose, mine, killed)]

    def _clock(self) -> float:
        """The database's."""
        [[now]] = self.compose.sql("SELECT extract(epoch FROM clock_timestamp())")
        return float(now)

    def roll(self) -> str:
        """One more, then an older one told to stop, and so on: how a new image is brought in."""
        client = self.client()
        table = tables.wine()
        source = self.folder / table.name
        source.write_bytes(table.content)
        file_id = trained.uploaded(client, source)
        client.close()
        old = self.compose.containers("trainer")
        runs = trained.Runs(self.url, self.token, file_id, "cultivar")
        with runs.going_on():
            for one in old:
                more = f"trainer={len(old) + 1}"
                self.compose("up", "--no-deps", "--no-recreate", "--scale", more, "--wait", "trainer")
                call("docker", "stop", one.id)
                left = container(one.id).exit_code
                assert left == 0, f"an old trainer ended with {left}"
                call("docker", "rm", "--volumes", one.id)
        kept = self.compose.containers("trainer")
        assert len(kept) == len(old) and not {c.id for c in kept} & {c.id for c in old}
        again = trained.fitted_again(self.compose, runs.ended)
        assert not again, f"{again} models were fitted twice for it"
        return (
            f"{len(runs.ended)} runs meanwhile, all completed, nothing fitted twice, every old one ended well"
        )

    def again(self) -> str:
        self.compose("down")
        assert not self.compose.containers()
        self.compose("up", "--wait")
        client = self.client()
        task = client.http.get(f"/ml/status/{self.known['task']}").raise_for_status().json()
        assert task["status"] == "completed"
        saved = client.fetch_link(client.link(self.known["model"]), self.folder)
        client.close()
        found = hashlib.sha256(saved.path.read_bytes()).hexdigest()
        assert found == self.known["sha256"], "the saved model is another one"
        return "the run is there, and the saved model has its SHA-256"


def _of_one_trainer(compose: Compose, task_id: str) -> list[trained.Held]:
    """The fits that one trainer has in hand, once one has any."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if found := trained.held(compose, task_id):
            return [one for one in found if one.owner == found[0].owner]
        time.sleep(0.2)
    raise AssertionError("no trainer has taken a fit up")


def _wait_restarted(identity: str, before: int) -> None:
    """Until the engine has started a container again and it is healthy."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        now = container(identity)
        if now.restarts > before and now.health == "healthy":
            return
        time.sleep(0.5)
    raise AssertionError("the container was not started again")
