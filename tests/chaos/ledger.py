"""What the faults came to: one row a fault, printed at the end, written to docs/reliability.md if asked."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

from deploy.embedded.postgres import binaries
from deploy.embedded.valkey import binary
from deploy.processes import PROJECT
from tests.chaos.rounds import LEASE_S, LONG, ROUNDS, SEED

PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = ["fault", "rounds", "tasks", "lost", "doubled", "half files", "taken over, p50", "max", "besides"]

LIBRARIES = ("nanio", "arq", "asyncpg", "redis", "litestar", "uvicorn")


@dataclass
class Entry:
    """One fault's sums. `half_files` is None where no file was being written."""

    fault: str
    rounds: int = 0
    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    half_files: int | None = None
    takeovers_s: list[float] = field(default_factory=list)
    besides: str = ""
    failed: bool = False

    def cells(self) -> list[str]:
        takeovers = self.takeovers_s
        return [
            self.fault + (" (FAILED)" if self.failed else ""),
            str(self.rounds),
            str(self.tasks),
            str(self.lost),
            str(self.doubled),
            "–" if self.half_files is None else str(self.half_files),
            f"{statistics.median(takeovers):.1f} s" if takeovers else "–",
            f"{max(takeovers):.1f} s" if takeovers else "–",
            self.besides or "–",
        ]


class Ledger:
    """Entries in the order in which the tests ran; `paragraphs` stand below the table."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.paragraphs: list[str] = []

    def markdown(self, earlier: str = "") -> str:
        """`earlier`: what other tests came to under the same command and machine, which stays."""
        rows = [_row(entry.cells()) for entry in self.entries]
        paragraphs = self.paragraphs
        if earlier.startswith(machine()):
            table, *below = earlier.removeprefix(machine()).strip().split("\n\n")
            new = {_fault(row) for row in rows}
            rows = [row for row in table.splitlines()[2:] if _fault(row) not in new] + rows
            paragraphs = paragraphs or below
        return "\n\n".join(
            [machine(), "\n".join([_row(HEAD), _row(["---"] * len(HEAD)), *rows]), *paragraphs]
        )

    def write(self) -> None:
        """Into the page, between the marks. The tests of a long run may be run one file after another, or
        side by side, with the same seed: each adds its rows."""
        before, _, rest = PAGE.read_text().partition(BEGIN)
        earlier, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{self.markdown(earlier.strip())}\n\n{END}{after}")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fault(row: str) -> str:
    return row.removeprefix("| ").partition(" | ")[0].removesuffix(" (FAILED)")


def machine() -> str:
    command = f"`make chaos ROUNDS={ROUNDS} SEED={SEED}`" if LONG else f"{ROUNDS} round(s), seed {SEED}"
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(
        [
            f"Python {platform.python_version()}",
            _first_line(binaries() / "postgres"),
            _first_line(binary()),
            *(f"{name} {version(name)}" for name in LIBRARIES),
        ]
    )
    return (
        f"Command: {command}; leases of {LEASE_S:g} s, two trainers with two slots each, two packagers.\n\n"
        f"Machine: {psutil.cpu_count()} cores ({_processor()}), {memory:.0f} GiB,"
        f" {platform.system()} {platform.release()}; {versions}."
    )


def _first_line(program: Path) -> str:
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    words = said.split()
    if "Valkey" in words[0] or "server" in said.lower():
        return "Valkey " + next(w.removeprefix("v=") for w in words if w.startswith("v="))
    return f"Postgres {words[-1]}" if words else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def wanted() -> bool:
    return bool(os.environ.get("CHAOS_REPORT"))
