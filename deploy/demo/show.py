"""What is shown while a task trains: a living leaderboard on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.demo.client import TERMINAL

Task = dict[str, Any]
STYLES = {"done": "green", "running": "yellow", "failed": "red", "skipped": "dim", "queued": "dim"}


class Show(Protocol):
    def __call__(self, task: Task) -> None: ...


@contextmanager
def training(console: Console) -> Iterator[Show]:
    if not console.is_terminal:
        yield PlainLines(console)
        return
    with Live(console=console, refresh_per_second=8) as live:
        yield lambda task: live.update(whole(task))


class PlainLines:
    """One line whenever a model starts or ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.said: dict[str, str] = {}

    def __call__(self, task: Task) -> None:
        for candidate in task["candidates"]:
            name, status = candidate["model_name"], candidate["status"]
            if self.said.get(name, "queued") != status:
                details = f"{number(candidate.get('score'))} {candidate.get('reason') or ''}".strip()
                self.console.print(
                    f"  {task['progress']:4.0%}  {candidate['label']}: {status} {details}".rstrip(),
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
            self.said[name] = status


def whole(task: Task) -> Table:
    grid = Table.grid()
    grid.add_row(Text(f"{task['progress']:4.0%}  {task['message']}"))
    grid.add_row(ProgressBar(total=1.0, completed=task["progress"], width=60, complete_style="green"))
    grid.add_row(leaderboard(task))
    return grid


def leaderboard(task: Task) -> Table:
    """Candidates, the best first; those without a score below."""
    table = Table(box=None, pad_edge=False)
    for heading, side in (("Model", "left"), (metric_of(task), "right"), ("Seconds", "right"), ("", "left")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]  # a tuple loses the literal
    best = (task.get("best") or {}).get("model_name")
    for candidate in ranked(task):
        status = candidate["status"]
        label = f"{candidate['label']} ★" if candidate["model_name"] == best else candidate["label"]
        table.add_row(
            label,
            number(candidate.get("score")),
            number(candidate.get("fit_seconds"), ".2f"),
            Text(
                candidate.get("reason") or ("" if status == "done" else status), style=STYLES.get(status, "")
            ),
        )
    return table


def ranked(task: Task) -> list[dict[str, Any]]:
    """By score; whether more is better is read off the best, once there is one."""
    scored = [c for c in task["candidates"] if c.get("score") is not None]
    others = [c for c in task["candidates"] if c.get("score") is None]
    best = (task.get("best") or {}).get("model_name")
    scored.sort(key=lambda candidate: candidate["score"], reverse=True)
    if best and scored and scored[-1]["model_name"] == best:
        scored.reverse()
    return scored + others


def metric_of(task: Task) -> str:
    return str((task.get("best") or {}).get("metric") or task.get("metric") or "score")


def number(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)


def ending(task: Task) -> str | None:
    """None for a completed task, else why it is not, with each model's reason."""
    if task["status"] not in TERMINAL or task["status"] == "completed":
        return None
    error = (task.get("error") or {}).get("detail") or task["message"]
    reasons = [f"{c['label']}: {c['reason']}" for c in task["candidates"] if c.get("reason")]
    return "\n  ".join([f"the task {task['status']}: {error}", *reasons])
