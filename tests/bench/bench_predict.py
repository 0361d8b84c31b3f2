"""One row through what was taken home, once it is deployed: each downloaded model in a process that holds it,
beside AutoGluon's, persisted; and the best over HTTP behind a handler of ten lines, beside `mlflow models
serve` with that same model. In turn, round after round, one row at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from deploy import ports
from deploy.ports import HOST
from tests.bench import beside, product, report
from tests.bench.models import environments
from tests.bench.models.competitors import PEERS
from tests.bench.report import percentile
from tests.e2e.person import Person
from tests.e2e.tables import Table, voters

TITLE = "One row, deployed"
LONG = True
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 9)
ASKED = 50
"""Rows a round."""
BUDGET_S = int(os.environ.get("BENCH_BUDGET") or 60)
TARGET = "vote"
HERE = Path(__file__).parent / "one_row"
MLFLOW = ("mlflow", "scikit-learn", "lightgbm", "xgboost-cpu", "catboost", "pandas", "numpy", "scipy")
"""Ours is served by MLflow in an environment of the versions that it was trained with."""
GOAL = "< 10 ms"


def measure() -> list[str]:
    table = voters()
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder, contextlib.ExitStack() as stack:
        here = Path(folder)
        models, best = _ours(table, here)
        (here / "rows.json").write_text(
            table.frame.drop(columns=TARGET).iloc[:ASKED].to_json(orient="records")
        )
        held = {
            name: stack.enter_context(_held(sys.executable, "pickle", path, here / "rows.json"))
            for name, path in models.items()
        }
        theirs, named = _autogluon(table, here)
        held[theirs] = stack.enter_context(
            _held(str(named), "autogluon", here / "autogluon", here / "rows.json")
        )
        over_http = _over_http(stack, models[best], here)
        return _lines(*_measured(held, over_http, json.loads((here / "rows.json").read_text())), best, theirs)


def _ours(table: Table, here: Path) -> tuple[dict[str, Path], str]:
    """Every model of a run, downloaded, by its name in the leaderboard; and the best one's."""
    with product.running("api", "trainer-1") as stack:
        person = Person(stack.url, "ann@example.org")
        task = person.run(table, TARGET, time_budget_s=BUDGET_S)
        rows = person.get(f"/ml/results/{task['task_id']}")["leaderboard"]
        done = [row for row in rows if row["status"] == "done"]
        found = {}
        for row in done:
            fetched = person.fetch(f"/ml/download-model/{task['task_id']}/{row['model_name']}")
            found[row["label"]] = here / f"{row['model_name']}.pkl"
            found[row["label"]].write_bytes(fetched.content)
        person.close()
        return found, done[0]["label"]


def _autogluon(table: Table, here: Path) -> tuple[str, Path]:
    """What it chose, and the interpreter that it runs in."""
    peer = PEERS["autogluon"]
    python = environments.python_of(peer.environment, peer.requirements)
    table.frame.to_csv(here / "table.csv", index=False)
    arguments = [here / "table.csv", TARGET, here / "autogluon", str(BUDGET_S)]
    said = subprocess.run(
        [python, HERE / "autogluon_fit.py", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return f"AutoGluon medium, persisted ({said.stdout.split()[-1]})", python


class Held:
    """A process that holds a model."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args} ended")
        return line

    def seconds(self, count: int) -> list[float]:
        """Of each of so many rows."""
        assert self._process.stdin
        print(count, file=self._process.stdin, flush=True)
        return list(json.loads(self.line()))


@contextlib.contextmanager
def _held(python: str, kind: str, model: Path, rows: Path) -> Iterator[Held]:
    process = subprocess.Popen(
        [python, HERE / "held.py", kind, model, rows],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        held = Held(process)
        held.line()
        yield held
    finally:
        process.kill()
        process.wait()


def _over_http(stack: contextlib.ExitStack, model: Path, here: Path) -> dict[str, tuple[int, str]]:
    """Servers of this model, by name: the port, and the path that takes a row."""
    ours, theirs = ports.free(2)
    module = ["tests.bench.one_row.served", str(model), str(ours)]
    stack.enter_context(beside.running(module, f"http://{HOST}:{ours}/ping"))
    installed = environments.versions(Path(sys.executable), MLFLOW)
    wanted = [f"{name}=={installed[name]}" if name in installed else name for name in MLFLOW]
    python = environments.python_of("mlflow", wanted)
    subprocess.run([python, HERE / "mlflow_save.py", model, here / "mlflow"], check=True)
    stack.enter_context(_mlflow(python, here / "mlflow", theirs))
    return {"a Litestar handler": (ours, "/"), "mlflow models serve": (theirs, "/invocations")}


@contextlib.contextmanager
def _mlflow(python: Path, model: Path, port: int) -> Iterator[None]:
    serve = ["mlflow", "models", "serve", "-m", str(model), "-p", str(port), "-h", HOST]
    process = subprocess.Popen(
        [str(python), "-m", *serve, "--env-manager", "local", "--workers", "1"],
        env={
            **os.environ,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + beside.START_S
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://{HOST}:{port}/ping").status_code == 200:
                    break
            time.sleep(0.1)
        else:
            raise RuntimeError("mlflow models serve does not answer")
        yield
    finally:
        os.killpg(process.pid, 9)  # its server is a child of its command
        process.wait()


def _measured(
    held: Mapping[str, Held], over_http: Mapping[str, tuple[int, str]], rows: Sequence[dict[str, Any]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each row, in a process and over HTTP."""
    inside: dict[str, list[float]] = {name: [] for name in held}
    outside: dict[str, list[float]] = {name: [] for name in over_http}
    for round_ in range(ROUNDS + 1):
        for name, process in held.items():
            inside[name] += process.seconds(ASKED) if round_ else process.seconds(5) and []
        for name, (port, path) in over_http.items():
            took = _posted(port, path, rows)
            if round_:  # the first one warms up
                outside[name] += took
    return inside, outside


def _posted(port: int, path: str, rows: Sequence[dict[str, Any]]) -> list[float]:
    """One after another on one connection. Raises RuntimeError for an answer that is none."""
    took = []
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    for row in rows:
        body = row if path == "/" else {"dataframe_records": [row]}
        began = time.perf_counter()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        took.append(time.perf_counter() - began)
        if answer.status not in (200, 201):
            raise RuntimeError(f"{path}: {answer.status} {said[:500]!r}")
    connection.close()
    return took


def _lines(
    inside: dict[str, list[float]], outside: dict[str, list[float]], best: str, theirs: str
) -> list[str]:
    anchor = percentile(inside[theirs], 0.5)
    rows = [
        (name + (", the best" if name == best else ""), *_cells(took, anchor), GOAL if name != theirs else "")
        for name, took in inside.items()
    ]
    ours, mlflow = outside
    over = [
        (f"{best}, {name}", *_cells(outside[name], percentile(outside[mlflow], 0.5)), goal)
        for name, goal in ((ours, GOAL), (mlflow, ""))
    ]
    columns = ("p50", "p95", "ratio of the p50", "goal")
    return [
        f"The {TARGET} of {len(voters().frame):,} voters by {len(voters().frame.columns) - 1} columns;"
        f" {BUDGET_S} s for all models, probabilities of one row, {ROUNDS * ASKED} rows each.",
        "",
        *report.table(("in a process, beside AutoGluon", *columns), rows),
        "",
        *report.table(("over HTTP, beside MLflow", *columns), over),
    ]


def _cells(took: Sequence[float], anchor: float) -> tuple[str, str, str]:
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    return f"{p50 * 1e3:.1f} ms", f"{p95 * 1e3:.1f} ms", f"{p50 / anchor:.2f}"


if __name__ == "__main__":
    print("\n".join(measure()))
