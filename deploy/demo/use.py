"""Using a downloaded model: as someone would who has only the file and the ZIP."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from deploy.demo.client import DemoFailed

SHOWN_ROWS = 5


def predict(model_file: Path, bundle: Path) -> list[tuple[str, str]]:
    """Load the pickle and predict the ZIP's example: (what was put in, what came out), some rows.

    Raises DemoFailed where the predictions are not those that `example.json` promises.
    """
    import joblib
    import pandas as pd

    with zipfile.ZipFile(bundle) as archive:
        example = json.loads(archive.read("example.json"))
    model = joblib.load(model_file)
    rows = example["rows"]
    if isinstance(rows, dict) and "h" in rows:
        forecast = model.predict(h=rows["h"])
        return [(f"step {i + 1}", row_words(row)) for i, row in enumerate(records(forecast)[:SHOWN_ROWS])]
    predictions = [plain(value) for value in model.predict(pd.DataFrame(rows))]
    if not same(predictions, example["predictions"]):
        raise DemoFailed(f"the model predicts {predictions}, and example.json says {example['predictions']}")
    return [
        (row_words(row), str(value)) for row, value in list(zip(rows, predictions, strict=True))[:SHOWN_ROWS]
    ]


def same(predictions: list[Any], promised: list[Any]) -> bool:
    """Equal labels; numbers to eight digits."""
    if len(predictions) != len(promised):
        return False
    return all(
        abs(ours - theirs) <= 1e-8 * max(1.0, abs(theirs))
        if isinstance(ours, float) and isinstance(theirs, int | float)
        else ours == theirs
        for ours, theirs in zip(predictions, promised, strict=True)
    )


def plain(value: Any) -> Any:
    """numpy's scalars as Python's."""
    return value.item() if hasattr(value, "item") else value


def records(frame: Any) -> list[dict[str, Any]]:
    return list(frame.reset_index(drop=True).to_dict("records"))


def row_words(row: dict[str, Any], columns: int = 3) -> str:
    """The first few values of a row."""
    shown = ", ".join(f"{name} {value}" for name, value in list(row.items())[:columns])
    return f"{shown}, …" if len(row) > columns else shown
