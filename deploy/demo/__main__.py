"""`python -m deploy.demo [--data table.csv --target column] [--url URL --token TOKEN]`.

Trains on a real table and takes everything home into demo-output/. Without --url it runs the stack of
deploy/local.py for as long as it needs it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.demo import show, use
from deploy.demo.client import Client, DemoFailed, Fetched
from deploy.demo.stack import running
from deploy.demo.table import DemoTable, breast_cancer
from deploy.local import DEFAULT_DIRECTORY, port_number
from deploy.processes import PROJECT

INTERRUPTED = 130
FITTING = ("running", "done", "failed")


class Steps:
    """Says what is being done, and remembers how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """The block may say how it went, by calling what it is given."""
        outcome: list[str] = []
        begun = time.monotonic()
        yield outcome.append
        self.seconds[name] = time.monotonic() - begun
        self.console.print(
            f"{name}: {'; '.join(outcome) or 'done'}", highlight=False, markup=False, soft_wrap=True
        )


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description="From a table to a model.")
    parser.add_argument("--data", type=Path, help="a CSV, TSV or Parquet file (default: a bundled table)")
    parser.add_argument("--target", help="the column to predict; goes with --data")
    parser.add_argument("--task", default="auto", help="classification, regression or time_series")
    parser.add_argument("--time-column", help="the time column, for time_series")
    parser.add_argument("--series-column", help="the column that tells series apart, for time_series")
    parser.add_argument("--budget", type=float, default=12, help="seconds to train (default: 12)")
    parser.add_argument("--output", type=Path, default=PROJECT / "demo-output")
    parser.add_argument("--url", help="a Trainyard that runs already, e.g. the one of docker compose")
    parser.add_argument("--token", help="a user's token there; without one dev-login is tried")
    parser.add_argument("--port", type=port_number)
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY)
    options = parser.parse_args(argv)
    if (options.data is None) != (options.target is None):
        parser.error("--data and --target go together: make demo DATA=table.csv TARGET=column")
    if options.data is not None and not options.data.is_file():
        parser.error(f"there is no file {options.data}")
    return options


def demo(options: argparse.Namespace, console: Console) -> None:
    steps = Steps(console)
    begun = time.monotonic()
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # scikit-learn takes as long to import as a server to start
        table = stack.enter_context(ThreadPoolExecutor(1)).submit(table_of, options, output)
        url, ours = options.url, False
        if url is None:
            with steps.step("Start") as say:
                url, ours = stack.enter_context(running(options.data_dir.absolute(), options.port))
                say(f"Trainyard {'is ready' if ours else 'already runs'} at {url}")
        client = Client(url, options.token)
        stack.callback(client.close)
        task = train(client, table.result(), options, steps)
        fetched = take_home(client, task, output, steps)
        saved = save(client, task, output, steps)
        with steps.step("Predict") as say:
            folder = use.unpack(fetched["zip"].path)
            use.check_same(folder / "best_model.pkl", saved.sha256)
            predictions = use.predict(folder)
            say("python predict.py example.json, in the unpacked ZIP, answers what was recorded")
        for given, answer in predictions:
            console.print(f"  {given} → {answer}", highlight=False, markup=False, soft_wrap=True)
        ended = time.monotonic()
    if ours:
        steps.seconds["Stop"] = time.monotonic() - ended
    summary(console, steps, [*fetched.values(), saved], time.monotonic() - begun)
    console.print(f"What to read first: {folder / 'README.md'}", soft_wrap=True)
    if options.url is None:
        kept = options.data_dir.absolute()
        console.print(f"The run and the saved model stay in {kept}; make up serves them", soft_wrap=True)


def table_of(options: argparse.Namespace, output: Path) -> DemoTable:
    return DemoTable(options.data, options.target) if options.data else breast_cancer(output)


def train(client: Client, table: DemoTable, options: argparse.Namespace, steps: Steps) -> dict[str, Any]:
    with steps.step("Upload") as say:
        file = client.upload(table.path)
        say(f"{file['name']}, {file['size_bytes']:,} bytes")
    with steps.step("Profile") as say:
        profile = client.profile(file["file_id"])
        say(f"{profile['rows']:,} rows, {len(profile['columns'])} columns")
    request = {
        "file_id": file["file_id"],
        "target": table.target,
        "task_type": options.task,
        "time_budget_s": options.budget,
        "time_column": options.time_column,
        "series_column": options.series_column,
    }
    with steps.step("Train") as say:
        posted = time.monotonic()
        task = client.train(request)
        with show.training(steps.console) as see:
            for now in client.follow(task):
                task = now
                see(task)
                if "POST to first fit" not in steps.seconds and any(
                    candidate["status"] in FITTING for candidate in task["candidates"]
                ):
                    steps.seconds["POST to first fit"] = time.monotonic() - posted
        if why := show.ending(task):
            raise DemoFailed(why)
        best = task["best"]
        done = sum(candidate["status"] == "done" for candidate in task["candidates"])
        say(f"{done} models, the best is {best['label']} ({best['metric']} {best['score']:.4f})")
    return task


def take_home(client: Client, task: dict[str, Any], output: Path, steps: Steps) -> dict[str, Fetched]:
    task_id = task["task_id"]
    paths = {
        "model": f"/ml/download-model/{task_id}/best_model",
        "leaderboard": f"/ml/download-leaderboard/{task_id}",
        "zip": f"/ml/download-all-models/{task_id}",
    }
    fetched = {}
    with steps.step("Download") as say:
        for name, path in paths.items():
            fetched[name] = client.download(path, output)
        say(", ".join(file.path.name for file in fetched.values()))
    return fetched


def save(client: Client, task: dict[str, Any], output: Path, steps: Steps) -> Fetched:
    with steps.step("Save") as say:
        model = client.save_model(task["task_id"], f"Demo {task['best']['label']}")
        say(f"“{model['model_name']}” is in the registry")
    with steps.step("Fetch saved model") as say:
        link = client.link(model["id"])
        saved = client.fetch_link(link, output)
        for source, promised in (("link", link["sha256"]), ("registry", model.get("sha256"))):
            if promised != saved.sha256:
                raise DemoFailed(
                    f"{saved.path.name} has SHA-256 {saved.sha256}, the {source} says {promised}"
                )
        say(f"{saved.path.name}, SHA-256 as promised")
    return saved


def summary(console: Console, steps: Steps, files: list[Fetched], total_s: float) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, seconds in steps.seconds.items():
        table.add_row(name, f"{seconds:6.2f} s")
    table.add_row("Everything", f"{total_s:6.2f} s", style="bold")
    console.print(table)
    for file in files:
        console.print(
            f"  {file.path} ({file.size_bytes:,} bytes)", highlight=False, markup=False, soft_wrap=True
        )


def main(argv: list[str]) -> int:
    options = arguments(argv)
    console = Console()
    try:
        demo(options, console)
    except DemoFailed as failed:
        console.print(
            f"The demo failed: {failed}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
