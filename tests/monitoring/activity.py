"""A few minutes of an installation: people train, poll, download; a trainer dies and is started again."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import psutil

from deploy import ports
from deploy.processes import PROJECT
from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.stack import Stack

QUIET_S = 30.0
"""Before anything happens, and after."""


class Installation:
    """The local stack, and a second trainer beside its own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.port_of: dict[str, int] = json.loads((stack.directory / "ports.json").read_text())
        [self.second_port] = ports.free(1)
        self.second: subprocess.Popen[bytes] | None = None
        self.log = (stack.directory / "logs" / "second-trainer.log").open("ab")

    @property
    def targets(self) -> Mapping[str, list[int]]:
        """Job → where its processes show their metrics."""
        ours = {name: [self.port_of[name]] for name in ("api", "trainer", "packager")}
        return ours | {"trainer": [*ours["trainer"], self.second_port]}

    def start_second(self) -> None:
        """As the stack's own trainer was started, with a port and a name of its own."""
        environ = psutil.Process(self._pid_at(self.port_of["trainer"])).environ()
        environ |= {"METRICS_PORT": str(self.second_port), "WORKER_NAME": "second"}
        self.second = subprocess.Popen(
            [sys.executable, "-m", "services.trainer"],
            cwd=PROJECT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def kill_second(self) -> None:
        assert self.second is not None
        self.second.kill()
        self.second.wait()
        self.second = None

    def close(self) -> None:
        if self.second is not None:
            self.second.send_signal(signal.SIGTERM)
            self.second.wait()
        self.log.close()

    @staticmethod
    def _pid_at(port: int) -> int:
        found = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr[1] == port]
        assert found and found[0] is not None, f"nobody listens at {port}"
        return found[0]


@contextlib.contextmanager
def installed(stack: Stack) -> Iterator[Installation]:
    found = Installation(stack)
    try:
        found.start_second()
        yield found
    finally:
        found.close()


def lived(installation: Installation) -> None:
    """All of it, from its quiet beginning to its quiet end."""
    time.sleep(QUIET_S)
    over = threading.Event()
    with ThreadPoolExecutor() as people:
        looking = [people.submit(_looks_around, installation.stack.url, n, over) for n in range(2)]
        working = [
            people.submit(work, installation.stack.url) for work in (_classifies, _forecasts, _repeats)
        ]
        accident = people.submit(_accident, installation, over)
        try:
            for one in working:
                one.result()
        finally:
            over.set()
        for one in (*looking, accident):
            one.result()
    time.sleep(QUIET_S)


def _classifies(url: str) -> None:
    """Two runs, the second of every kind of column; everything is taken home and one model saved."""
    person = Person(url, "ann@example.com")
    wine = person.run(tables.wine(), "cultivar", time_budget_s=90)
    for path in (
        f"/ml/download-model/{wine['task_id']}/best_model",
        f"/ml/download-leaderboard/{wine['task_id']}",
    ):
        person.fetch(path)
    person.fetch(f"/ml/download-all-models/{wine['task_id']}")
    person.save(wine["task_id"], "Wines")
    voters = person.run(tables.voters(), "vote", time_budget_s=60)
    person.fetch(f"/ml/download-all-models/{voters['task_id']}")
    person.close()


def _forecasts(url: str) -> None:
    person = Person(url, "ben@example.com")
    series = person.run(
        tables.carbon_dioxide(),
        "ppm",
        task_type="time_series",
        time_column="month",
        horizon=12,
        time_budget_s=60,
    )
    person.fetch(f"/ml/download-all-models/{series['task_id']}")
    number = person.run(tables.diabetes(), "progression", time_budget_s=60)
    person.save(number["task_id"], "Progression of diabetes")
    person.close()


def _repeats(url: str) -> None:
    """Many small runs at once, which wait for one another; one is cancelled; a table that cannot be read."""
    person = Person(url, "cem@example.com")
    file_id = person.upload(tables.flats())["file_id"]
    person.profile(file_id)
    models = ["ridge", "elastic_net", "random_forest", "lightgbm", "k_nearest_neighbors"]
    runs = [person.train(file_id, "rent", models=models, time_budget_s=40)["task_id"] for _ in range(6)]
    gone = person.train(file_id, "rent", time_budget_s=600)["task_id"]
    assert person.http.post(f"/ml/cancel/{gone}").status_code in (200, 202)
    broken = person.upload(tables.Table("empty columns.csv", b"a,b\n1,2\n3\n"))["file_id"]
    person.profile(broken)
    for run in (*runs, gone):
        person.ended(run)
    person.close()


def _looks_around(url: str, number: int, over: threading.Event) -> None:
    """Somebody with a dashboard open: lists, details, and what is not there."""
    person = Person(url, f"looks-{number}@example.com")
    paths = ("/files", "/ml/tasks", "/models", "/account", "/ml/tasks?limit=5", "/ml/status/unknown")
    while not over.wait(0.1):
        for path in paths:
            person.http.get(path)
    person.close()


def _accident(installation: Installation, over: threading.Event) -> None:
    """The second trainer is killed while it has work, and started again somewhat later."""
    person = Person(installation.stack.url, "dee@example.com")
    over.wait(40)
    while not _running(person, installation.second_port):
        if over.wait(0.05):
            return
    installation.kill_second()
    over.wait(25)
    installation.start_second()
    person.close()


def _running(person: Person, port: int) -> float:
    text = person.http.get(f"http://127.0.0.1:{port}/metrics").text
    return sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("trainyard_jobs_running{")
    )
