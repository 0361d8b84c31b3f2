"""`make demo`, whole: a stack of its own, a real table, and everything taken home."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from deploy import holder, ports


def test_the_demo_takes_everything_home(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "output"
    free = str(ports.free(1)[0])
    demo = subprocess.run(
        [
            sys.executable,
            "-m",
            "deploy.demo",
            "--port",
            free,
            "--data-dir",
            str(data),
            "--output",
            str(output),
        ],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
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
    assert "SHA-256 as promised" in demo.stdout
    assert "POST to first fit" in demo.stdout
    with holder.held(data):  # its stack is over
        assert holder.read_holder(data) is None


def test_a_target_that_is_not_there_ends_the_demo_plainly(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "1,2\n" * 50)
    data, output = str(tmp_path / "data"), str(tmp_path / "output")
    own = ["--port", str(ports.free(1)[0]), "--data", str(table), "--target", "price"]
    demo = subprocess.run(
        [sys.executable, "-m", "deploy.demo", "--data-dir", data, "--output", output, *own],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert demo.returncode == 1
    assert "The demo failed: POST /ml/train answered 422" in demo.stdout
    assert "price" in demo.stdout
    assert "Traceback" not in demo.stdout + demo.stderr
