"""The table the demo trains on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class DemoTable(NamedTuple):
    path: Path
    target: str


def breast_cancer(folder: Path) -> DemoTable:
    """Real measurements of 569 tumours (Breast Cancer Wisconsin, 1995), as scikit-learn ships them: 30
    numeric columns, and the diagnosis in words."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    table = bunch.data.assign(diagnosis=bunch.target_names[bunch.target])
    path = folder / "breast_cancer.csv"
    table.to_csv(path, index=False)
    return DemoTable(path, "diagnosis")
