"""Using what was downloaded: as someone would who has only the ZIP."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from deploy.demo.client import PATIENCE_S, DemoFailed

SHOWN_ROWS = 5
COMMAND = ["predict.py", "example.json"]


def unpack(bundle: Path) -> Path:
    """The folder beside the ZIP that it was unpacked into."""
    folder = bundle.with_suffix("")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


def check_same(model: Path, sha256: str) -> None:
    """Raise DemoFailed where a model is not the one that was saved."""
    found = hashlib.sha256(model.read_bytes()).hexdigest()
    if found != sha256:
        raise DemoFailed(f"{model} has SHA-256 {found}, and the saved model {sha256}")


def predict(folder: Path) -> list[tuple[str, str]]:
    """Have the ZIP's own program predict its example: (what was put in, what came out), some rows.

    Raises DemoFailed with its words where it fails, or where the predictions are not the recorded ones.
    """
    what = f"python {' '.join(COMMAND)} in {folder}"
    try:
        ran = subprocess.run(
            [sys.executable, *COMMAND],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"{what} had no answer after {PATIENCE_S} s") from None
    if ran.returncode != 0:
        raise DemoFailed(f"{what}: {ran.stderr.strip()}")
    predictions = json.loads(ran.stdout)[:SHOWN_ROWS]
    if predictions and isinstance(predictions[0], dict):
        return [(f"step {number}", row_words(row)) for number, row in enumerate(predictions, 1)]
    rows = json.loads((folder / "example.json").read_bytes())["rows"]
    return [(row_words(row), word(value)) for row, value in zip(rows, predictions, strict=False)]


def row_words(row: dict[str, Any], columns: int = 3) -> str:
    """The first few values of a row."""
    shown = ", ".join(f"{name} {word(value)}" for name, value in list(row.items())[:columns])
    return f"{shown}, …" if len(row) > columns else shown


def word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).removesuffix("T00:00:00Z")
