"""`make demo`, whole: a stack of its own, a real table, and everything taken home."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from deploy import holder, ports
from tests.e2e.stack import Stack


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.demo", *arguments],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_demo_takes_everything_home(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "output"
    own = ["--port", str(ports.free(1)[0]), "--data-dir", str(data)]
    demo = run(*own, "--output", str(output), "--budget", "8")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    names = sorted(path.name for path in output.iterdir())
    task_id = re.findall(r"best_model_([0-9a-f-]{36})\.pkl", " ".join(names))[0]
    assert {
        f"all_models_{task_id}.zip",
        f"best_model_{task_id}.pkl",
        f"leaderboard_{task_id}.csv",
        "breast_cancer.csv",
    } < set(names)
    with (output / f"leaderboard_{task_id}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["rank"] == "1"
    assert float(rows[0]["accuracy"]) > 0.9
    with zipfile.ZipFile(output / f"all_models_{task_id}.zip") as archive:
        assert archive.testzip() is None
        assert {"best_model.pkl", "leaderboard.csv", "README.md", "predict.py"} <= set(archive.namelist())
        inside = archive.read("best_model.pkl")
    assert inside == (output / f"best_model_{task_id}.pkl").read_bytes()
    assert (output / f"all_models_{task_id}" / "README.md").is_file()
    assert "in the unpacked ZIP, answers what was recorded" in demo.stdout
    assert "SHA-256 as promised" in demo.stdout
    assert "in the unpacked ZIP, answers what was recorded" in demo.stdout
    assert f"What to read first: {output / f'all_models_{task_id}' / 'README.md'}" in demo.stdout
    assert "POST to first fit" in demo.stdout
    with holder.held(data):  # its stack is over
        assert holder.read_holder(data) is None


def test_forecasts_are_taken_home_from_a_stack_that_runs_already(stack: Stack, tmp_path: Path) -> None:
    """With a column known ahead: the example is a table of the steps to come, and not their number."""
    months = pd.date_range("2019-01-01", periods=60, freq="MS").strftime("%Y-%m-%d")
    offer = np.random.default_rng(0).integers(0, 2, 60)
    table = pd.DataFrame({"month": months, "offer": offer, "sales": 100.0 + 60 * offer + np.arange(60)})
    table.loc[54:, "sales"] = None
    table.to_csv(tmp_path / "sales.csv", index=False)
    given = ["--data", str(tmp_path / "sales.csv"), "--target", "sales", "--time-column", "month"]
    demo = run("--url", stack.url, "--output", str(tmp_path / "home"), *given, "--budget", "20")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "in the unpacked ZIP, answers what was recorded" in demo.stdout
    assert re.search(r"step 1 → .*month 2023-07-01", demo.stdout)
    [card] = (tmp_path / "home").glob("all_models_*/README.md")
    assert "python predict.py steps_to_come.csv" in card.read_text(), (
        "a model that knows of offers is the best"
    )
    assert "stay in" not in demo.stdout, "that is the business of whoever runs it"


def test_a_target_that_is_not_there_ends_the_demo_plainly(stack: Stack, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "1,2\n" * 50)
    home = ["--url", stack.url, "--output", str(tmp_path / "output")]
    demo = run(*home, "--data", str(table), "--target", "price")
    assert demo.returncode == 1
    assert "The demo failed: POST /ml/train answered 422" in demo.stdout
    assert "price" in demo.stdout
    assert "Traceback" not in demo.stdout + demo.stderr
