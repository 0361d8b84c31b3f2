"""How a competitor is asked and answers: in a process of its own, over files."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.bench.models import loading, processes, scoring
from tests.bench.models.peers.job import Job
from tests.bench.models.processes import StepFailed
from tests.bench.models.tables import TABLES


@pytest.fixture
def wine(tmp_path: Path) -> Path:
    loading.write(TABLES["wine"], 0, tmp_path)
    return tmp_path


def job(folder: Path, **more: object) -> Path:
    asked = Job(
        train=str(folder / "train.csv"),
        test=str(folder / "test.csv"),
        target="target",
        task="multiclass",
        metric="log_loss",
        dates=[],
        budget=5.0,
        seed=0,
        cores=1,
        out=str(folder),
    )
    path = folder / "job.json"
    path.write_text(json.dumps(asdict(asked) | more))
    return path


def test_a_split_holds_a_fifth_of_each_class_out_without_its_target(wine: Path) -> None:
    train, test = pd.read_csv(wine / "train.csv"), pd.read_csv(wine / "test.csv")
    truth = pd.read_csv(wine / "truth.csv")["target"]
    about = json.loads((wine / "about.json").read_text())
    assert (len(train), len(test), len(truth)) == (142, 36, 36)
    assert "target" in train and "target" not in test
    assert truth.value_counts().to_dict() == {1: 14, 0: 12, 2: 10}
    assert (about["rows"], about["columns"], about["classes"]) == (178, 13, ["0", "1", "2"])


def test_a_peer_fits_saves_and_predicts_the_held_out_rows(wine: Path) -> None:
    module = "tests.bench.models.peers.lightgbm_defaults"
    processes.run(sys.executable, [module, str(job(wine))], home=wine, limit=120)
    answer = json.loads((wine / "answer.json").read_text())
    with np.load(wine / "predictions.npz", allow_pickle=False) as found:
        classes, values = list(found["classes"]), found["values"]
    truth = pd.read_csv(wine / "truth.csv")["target"].tolist()
    assert scoring.scores("multiclass", truth, values, classes, ["0", "1", "2"])["accuracy"] > 0.9
    assert answer["seconds"] > 0 and answer["predict_ms_per_row"] > 0
    assert answer["size_bytes"] == (wine / "model" / "model.pkl").stat().st_size


def test_a_peer_that_fails_says_why(wine: Path) -> None:
    module = "tests.bench.models.peers.lightgbm_defaults"
    with pytest.raises(StepFailed, match="KeyError: 'no such column'"):
        processes.run(sys.executable, [module, str(job(wine, target="no such column"))], home=wine, limit=120)


def test_a_peer_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"killed after 0\.5 s"):
        processes.run(sys.executable, ["http.server", "0", "--bind", "127.0.0.1"], home=tmp_path, limit=0.5)
