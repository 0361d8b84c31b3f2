"""What is taken home works there: in an environment that has a run's requirements and nothing of ours."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import checks, tables
from tests.e2e.person import Person

Environments = Callable[[Path], Path]
ENSEMBLES = {"weighted_ensemble", "stacked_ensemble"}

LOAD_ALL = """
import json, sys
import joblib, pandas

folder, example = sys.argv[1], json.load(open(sys.argv[1] + "/example.json"))
rows = example["rows"]
answers = {}
for slug in ["best_model", example["model"], *example["other_models"]]:
    model = joblib.load(f"{folder}/{slug}.pkl")
    if "h" in rows[0]:
        if isinstance(model, dict):  # an average of forecasters, which the script beside it adds up
            sys.path.insert(0, folder)
            from predict import average
            answered = average(model, rows[0]["h"])
        else:
            answered = model.predict(h=rows[0]["h"])
        as_text = {c: answered[c].astype(str) for c in answered if answered[c].dtype.kind not in "iuf"}
        answers[slug] = answered.assign(**as_text).to_dict("records")
    else:
        answers[slug] = pandas.Series(model.predict(pandas.DataFrame(rows))).tolist()
ours = [name for name in sys.modules if name.partition(".")[0] in ("services", "shared", "deploy")]
json.dump({"answers": answers, "ours": ours}, open("answers.json", "w"))
"""


OPEN_SKOPS = """
import json, sys
import pandas, skops.io

given = json.load(open("given.json"))
refused = None
try:
    skops.io.load(sys.argv[1], trusted=given["types"][1:])
except Exception as error:
    refused = type(error).__name__
model = skops.io.load(sys.argv[1], trusted=given["types"])
answers = pandas.Series(model.predict(pandas.DataFrame(given["rows"]))).tolist()
ours = [name for name in sys.modules if name.partition(".")[0] in ("services", "shared", "deploy")]
json.dump({"answers": answers, "ours": ours, "refused": refused}, open("answers.json", "w"))
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As in a new terminal: nothing of this process's Python settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environments]:
    """requirements.txt → the Python of a new environment that has just that; one for equal files."""
    folder = tmp_path_factory.mktemp("environments")
    made: dict[str, Path] = {}

    def environment(requirements: Path) -> Path:
        lines = [line.partition("  #")[0] for line in requirements.read_text().splitlines()]
        wanted = "\n".join(line for line in lines if line and not line.startswith("#"))
        if wanted not in made:
            home = folder / str(len(made))
            # without a pip of its own, which takes longer than the rest: ours installs into it
            uv = Path(sys.executable).with_name("uv")
            made_it = run(uv, "venv", "-q", "--python", sys.executable, home, cwd=folder)
            assert made_it.returncode == 0, made_it.stderr
            python = home / "bin" / "python"
            # from uv's own cache, by links: environments that share packages share their files
            installed = run(uv, "pip", "install", "-q", "--python", python, "-r", requirements, cwd=folder)
            assert installed.returncode == 0, installed.stderr
            made[wanted] = python
        return made[wanted]

    yield environment
    shutil.rmtree(folder)  # some hundred megabytes


@pytest.mark.parametrize("name", ["voters_run", "wine_run", "flats_run", "series_run", "panel_run"])
def test_models_predict_at_home_what_they_did_here(
    ann: Person, environments: Environments, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    task: dict[str, Any] = request.getfixturevalue(name)
    archive = ann.fetch(f"/ml/download-all-models/{task['task_id']}").into(tmp_path)
    unpacked = checks.unpack(archive, tmp_path / "unpacked")
    example = json.loads((unpacked / "example.json").read_text())
    assert example["predictions"]
    assert set(example["other_models"]) | {example["model"]} == set(checks.done(task))
    python = environments(unpacked / "requirements.txt")

    predicted = run(python, "predict.py", "example.json", cwd=unpacked)
    assert predicted.returncode == 0, predicted.stderr
    assert "matches the recorded predictions" in predicted.stderr
    assert near(json.loads(predicted.stdout), example["predictions"])

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    loaded = run(python, "-I", "-c", LOAD_ALL, unpacked, cwd=elsewhere)
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads((elsewhere / "answers.json").read_text())
    assert found["ours"] == []
    for slug, answers in found["answers"].items():
        recorded = example["other_models"].get(slug, example["predictions"])
        assert near(answers, recorded), slug


def test_graphs_predict_at_home_what_the_pickles_do(
    ann: Person, environments: Environments, voters_run: dict[str, Any], tmp_path: Path
) -> None:
    """With a runtime and pandas alone: neither scikit-learn nor a pickle is needed."""
    task_id = voters_run["task_id"]
    archive = ann.fetch(f"/ml/download-all-models/{task_id}").into(tmp_path)
    unpacked = checks.unpack(archive, tmp_path / "unpacked")
    told = json.loads((unpacked / "onnx.json").read_text())["models"]
    assert all(about["file"] == f"{slug}.onnx" for slug, about in told.items()), told
    for about in told.values():
        assert about["parity"]["rows"] == pytest.approx(0.2 * 944, abs=2)
        assert about["parity"]["max_abs_difference"] <= about["parity"]["tolerance"]
        assert about["parity"]["equal_labels"] > 0.99
    single = ann.fetch(f"/ml/download-model/{task_id}/best_model?format=onnx")
    assert single.name == f"best_model_{task_id}.onnx"
    assert single.content == (unpacked / "best_model.onnx").read_bytes()
    said = ann.get(f"/ml/conversions/{task_id}/best_model?format=onnx")
    assert said["onnx"]["inputs"] == told[voters_run["best"]["model_name"]]["inputs"]
    assert (said["format"], said["sha256"]) == ("onnx", single.sha256)

    pins = [line for line in (unpacked / "requirements.txt").read_text().splitlines() if line[:6] == "pandas"]
    needs = tmp_path / "requirements.txt"
    needs.write_text("\n".join([*pins, *next(iter(told.values()))["requires"]]) + "\n")
    python = environments(needs)
    for model in ("best_model.onnx", "xgboost.onnx"):  # the others were compared when they were made
        predicted = run(python, "predict.py", "example.json", "--model", model, cwd=unpacked)
        assert predicted.returncode == 0, predicted.stderr
        assert "matches the recorded predictions" in predicted.stderr


def test_no_training_row_is_handed_over_but_the_examples(
    ann: Person, flats_run: dict[str, Any], tmp_path: Path
) -> None:
    """Cells that stand in one row alone are looked for in every file, pickles unpacked: as text, and as the
    numbers' own bytes."""
    archive = ann.fetch(f"/ml/download-all-models/{flats_run['task_id']}").into(tmp_path)
    unpacked = checks.unpack(archive, tmp_path / "unpacked")
    rows = (unpacked / "example.json").read_text()
    planted = tables.SENTINELS
    assert not any(str(value) in rows for value in planted.values()), "the example may be any row"
    keepers = {"k_nearest_neighbors", *ENSEMBLES}  # the last two have the first among their members
    for path in sorted(unpacked.rglob("*")):
        if path.is_file() and path.stem not in {*keepers, "best_model"}:
            found = {name for name in ("size", "deposit", "rent") if holds(path, planted[name])}
            # where a leaf of a tree is reached by one row alone, its mean is that row's target
            assert found <= ({"rent"} if path.stem == "random_forest" else set()), path.name
    card = (unpacked / "README.md").read_text()
    assert "`k_nearest_neighbors`" in card[card.index("No rows of the table") :]


def holds(path: Path, number: float) -> bool:
    """Whether a number stands in a file: in words, or as its own bytes, also within a packed pickle."""
    content = path.read_bytes()
    content = zlib.decompress(content) if path.suffix == ".pkl" else content
    written = (str(number).encode(), struct.pack("<d", number), struct.pack("<f", number))
    return any(each in content for each in written)


def test_a_skops_file_opens_at_home_with_the_types_it_names(
    ann: Person, environments: Environments, voters_run: dict[str, Any], tmp_path: Path
) -> None:
    task_id, slug = voters_run["task_id"], "random_forest"
    fetched = ann.fetch(f"/ml/download-model/{task_id}/{slug}?format=skops")
    assert fetched.name == f"{slug}_{task_id}.skops"
    needs = ann.get(f"/ml/conversions/{task_id}/{slug}")
    assert needs["sha256"] == fetched.sha256
    link = ann.link(f"/ml/download-model/{task_id}/{slug}?format=skops")
    assert link["types"] == needs["types"]
    unpacked = checks.unpack(ann.fetch(f"/ml/download-all-models/{task_id}").into(tmp_path), tmp_path / "zip")
    example = json.loads((unpacked / "example.json").read_text())
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(needs["requires"]) + "\n")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "given.json").write_text(json.dumps({"rows": example["rows"], "types": needs["types"]}))
    python = environments(requirements)
    opened = run(python, "-I", "-c", OPEN_SKOPS, fetched.into(elsewhere), cwd=elsewhere)
    assert opened.returncode == 0, opened.stderr
    found = json.loads((elsewhere / "answers.json").read_text())
    assert found["ours"] == []
    assert found["refused"] == "UntrustedTypesFoundException"
    recorded = example["other_models"].get(slug, example["predictions"])
    assert near(found["answers"], recorded)


def test_a_pickle_that_was_changed_is_not_opened(
    ann: Person, environments: Environments, voters_run: dict[str, Any], tmp_path: Path
) -> None:
    archive = ann.fetch(f"/ml/download-all-models/{voters_run['task_id']}").into(tmp_path)
    unpacked = checks.unpack(archive, tmp_path / "unpacked")
    with (unpacked / "best_model.pkl").open("ab") as model:
        model.write(b"!")
    predicted = run(environments(unpacked / "requirements.txt"), "predict.py", "example.json", cwd=unpacked)
    assert predicted.returncode == 2
    assert "best_model.pkl is not the file that SHA256SUMS lists" in predicted.stderr


def near(answered: Any, recorded: Any) -> bool:
    """Equal, floats as near as another order of adding them up leaves them, times to the same instant."""
    if isinstance(recorded, dict):
        return answered.keys() == recorded.keys() and all(near(answered[k], recorded[k]) for k in recorded)
    if isinstance(recorded, list):
        return len(answered) == len(recorded) and all(map(near, answered, recorded))
    if isinstance(recorded, float):
        return bool(answered == pytest.approx(recorded, rel=1e-5, abs=1e-8))
    return str(answered) == str(recorded) or instant(answered) == instant(recorded) is not None


def instant(value: Any) -> dt.datetime | None:
    """A time without a zone is UTC; None for what is no time."""
    try:
        parsed = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
