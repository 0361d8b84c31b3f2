"""What holds for every finished run, whatever it was trained on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import uuid
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx

from tests.e2e.person import Person

METRICS = {
    "classification": "accuracy,balanced_accuracy,f1_macro,f1_weighted,precision_macro,recall_macro,roc_auc,"
    "average_precision,log_loss,matthews_corrcoef,brier",
    "regression": "r2,rmse,mae,mape,median_absolute_error,max_error,explained_variance",
    "time_series": "mase,smape,wape,rmse,mae,rmsse",
}
LESS_IS_BETTER = {
    *("log_loss", "brier", "rmse", "mae", "mape", "median_absolute_error", "max_error"),
    *METRICS["time_series"].split(","),
}
TEXT_COLUMNS = {"model_name", "label", "algorithm", "status", "reason"}
ALWAYS_IN_THE_ZIP = {
    "best_model.pkl",
    "leaderboard.csv",
    "README.md",
    "requirements.txt",
    "schema.json",
    "example.json",
    "predict.py",
    "SHA256SUMS",
}
ENSEMBLES = {"weighted_ensemble", "stacked_ensemble"}
NOBODYS_ID = "00000000-0000-7000-8000-000000000000"


def done(task: dict[str, Any]) -> dict[str, Any]:
    """Slug → candidate, of those that are there to be taken home."""
    return {c["model_name"]: c for c in task["candidates"] if c["status"] == "done"}


def completed(task: dict[str, Any], models: int) -> None:
    """The task is over, and every one of its models was trained; an ensemble may have nothing to add."""
    assert task["status"] == "completed", task
    assert (task["stage"], task["progress"]) == ("done", 1.0)
    skipped = [c for c in task["candidates"] if c["status"] == "skipped"]
    assert all(c["model_name"] in ENSEMBLES and c["reason"] for c in skipped), skipped
    assert len(done(task)) == len(task["candidates"]) - len(skipped), task["candidates"]
    assert len([c for c in task["candidates"] if c["model_name"] not in ENSEMBLES]) == models
    assert "error" not in task
    assert "queue_position" not in task
    assert task["created_at"] <= task["started_at"] <= task["finished_at"]
    assert task["finished_at"].endswith("Z")
    scores = {slug: c["score"] for slug, c in done(task).items()}
    pick = min if task["metric"] in LESS_IS_BETTER else max
    assert task["best"]["metric"] == task["metric"]
    assert task["best"]["score"] == scores[task["best"]["model_name"]] == pick(scores.values())


def leaderboard(person: Person, task: dict[str, Any]) -> list[dict[str, Any]]:
    """JSON and CSV say the same in the contract's columns, the best on validation first. Its rows."""
    results = person.get(f"/ml/results/{task['task_id']}")
    board: list[dict[str, Any]] = results["leaderboard"]
    rows = [row for row in board if row["status"] == "done"]
    metrics = METRICS[task["task_type"]].split(",")
    columns = ["rank", "model_name", "label", "algorithm", *metrics, "cv_mean", "cv_std", "fit_seconds"]
    columns += ["predict_ms_per_row", "size_bytes", "status", "reason"]
    assert all(list(row)[: len(columns)] == columns for row in board)
    assert results["greater_is_better"] == {name: name not in LESS_IS_BETTER for name in metrics}

    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0]["model_name"] == task["best"]["model_name"]
    assert {row["model_name"]: row["cv_mean"] for row in rows} == {
        slug: c["score"] for slug, c in done(task).items()
    }
    validated = [row["cv_mean"] for row in rows]
    assert validated == sorted(validated, reverse=task["metric"] not in LESS_IS_BETTER)

    fetched = person.fetch(f"/ml/download-leaderboard/{task['task_id']}")
    assert fetched.name == f"leaderboard_{task['task_id']}.csv"
    assert fetched.answers[-1].headers["Content-Type"].startswith("text/csv")
    reader = csv.DictReader(io.StringIO(fetched.content.decode(), newline=""))
    assert reader.fieldnames == columns
    in_csv = [{name: _cell(name, cell) for name, cell in row.items()} for row in reader]
    assert in_csv == [{name: row[name] for name in columns} for row in board]
    return rows


def _cell(column: str, cell: str) -> str | float | None:
    if cell == "":
        return None
    return cell if column in TEXT_COLUMNS else float(cell)


WHERE_THERE_IS_TIME = {"importance", "learning_curve"}


def plots(person: Person, task: dict[str, Any], kinds: set[str]) -> None:
    """Every model has these kinds, with numbers to draw it from and an SVG to be had by its owner. Beside
    them some have those that are drawn where there is time."""
    plots = person.get(f"/ml/results/{task['task_id']}")["plots"]
    slugs = {c["model_name"] for c in task["candidates"] if c["status"] == "done"}
    always = {(p["model_name"], p["kind"]) for p in plots if p["kind"] not in WHERE_THERE_IS_TIME}
    assert always == {(s, kind) for s in slugs for kind in kinds}
    assert all(p["data"] for p in plots)
    of_the_best = [p for p in plots if p["model_name"] == task["best"]["model_name"]]
    for url in [p["svg_url"] for p in of_the_best]:
        answer = person.http.get(url)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("image/svg+xml")
        drawing = ElementTree.fromstring(answer.content)
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        assert httpx.get(str(person.http.base_url.join(url))).status_code == 401


def files(person: Person, task: dict[str, Any], folder: Path) -> Path:
    """Every download by the guide's name; the ZIP whole, and what it holds the same as the single files.
    The folder it was unpacked into."""
    task_id, best = task["task_id"], task["best"]
    bundle = person.fetch(f"/ml/download-all-models/{task_id}")
    assert bundle.name == f"all_models_{task_id}.zip"
    assert person.get(f"/ml/bundles/{task_id}")["status"] == "ready"
    assert person.get(f"/ml/bundles/{task_id}")["size_bytes"] == len(bundle.content)
    archive = bundle.into(folder)
    unpacked = unpack(archive, folder / "unpacked")

    best_file = person.fetch(f"/ml/download-model/{task_id}/best_model")
    assert best_file.name == f"best_model_{task_id}.pkl"
    assert best_file.content == (unpacked / "best_model.pkl").read_bytes()
    slugs = {slug: c["label"] for slug, c in done(task).items()}
    for slug in slugs:
        model = person.fetch(f"/ml/download-model/{task_id}/{slug}")
        assert model.name == f"{slug}_{task_id}.pkl"
        assert model.content == (unpacked / f"{slug}.pkl").read_bytes()
    by_label = person.fetch(f"/ml/download-model/{task_id}/{slugs[best['model_name']]}")
    assert by_label.name == f"{best['model_name']}_{task_id}.pkl"
    assert by_label.content == best_file.content
    unknown = person.http.get(f"/ml/download-model/{task_id}/crystal_ball")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Model not found")

    link = person.link(f"/ml/download-model/{task_id}/best_model")
    assert (link["filename"], link["size_bytes"]) == (best_file.name, len(best_file.content))
    assert link["sha256"] == best_file.sha256
    # whoever has the link needs no token
    assert httpx.get(link["url"]).content == best_file.content

    plots = {f"plots/{p['model_name']}_{p['kind']}.svg" for p in _results(person, task)["plots"]}
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    graphs = {name for name in names if "onnx" in name}
    assert names - graphs == ALWAYS_IN_THE_ZIP | {f"{slug}.pkl" for slug in slugs} | plots
    assert bool(graphs) == (task["task_type"] != "time_series")
    if graphs:
        told = json.loads((unpacked / "onnx.json").read_text())["models"]
        assert set(told) == set(slugs)
        made = {about["file"] for about in told.values() if about["file"]}
        assert all(about["file"] or about["reason"] for about in told.values())
        best_made = {"best_model.onnx"} if told[best["model_name"]]["file"] else set()
        assert graphs == {"onnx.json", "predict_onnx.py"} | made | best_made
    csv_file = person.fetch(f"/ml/download-leaderboard/{task_id}")
    assert (unpacked / "leaderboard.csv").read_bytes() == csv_file.content
    board = _results(person, task)["leaderboard"]
    sizes = {row["model_name"]: row["size_bytes"] for row in board if row["status"] == "done"}
    assert sizes == {slug: (unpacked / f"{slug}.pkl").stat().st_size for slug in slugs}
    file = person.get(f"/files/{task['request']['file_id']}")
    card = (unpacked / "README.md").read_text()
    assert file["sha256"] in card
    assert all(label in card for label in slugs.values())
    return unpacked


def _results(person: Person, task: dict[str, Any]) -> dict[str, Any]:
    return dict(person.get(f"/ml/results/{task['task_id']}"))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacked by Python, found whole by `unzip` where there is one, every digest as listed."""
    with zipfile.ZipFile(archive) as members:
        assert members.testzip() is None
        names = members.namelist()
        assert len(names) == len(set(names))
        members.extractall(folder)
    try:
        unzip = subprocess.run(["unzip", "-tq", archive], capture_output=True, text=True, timeout=60)
        assert unzip.returncode == 0, unzip.stdout + unzip.stderr
        assert "No errors detected" in unzip.stdout
    except FileNotFoundError:
        pass  # Python's own reading above has to do on a machine without it
    listed = dict(
        reversed(line.split(maxsplit=1)) for line in (folder / "SHA256SUMS").read_text().splitlines()
    )
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    assert digests == listed
    assert set(listed) == set(names) - {"SHA256SUMS"}
    return folder


def registry(person: Person, task: dict[str, Any], folder: Path) -> None:
    """A model saved, listed, counted, fetched by its link, renamed, thrown away and taken back."""
    best = task["best"]["model_name"]
    # of its own: the registry is shared by every run of this person
    name, tag = f"Best of {task['name']} · {uuid.uuid4().hex}", f"tag {uuid.uuid4().hex[:8]}"
    before = person.get("/models/stats")
    model = person.save(task["task_id"], name, description="From a test", tags=[tag, "Größe"])
    stored = person.fetch(f"/ml/download-model/{task['task_id']}/best_model")
    assert (model["model_name"], model["description"]) == (name, "From a test")
    assert model["tags"] == [tag, "Größe"]
    assert (model["user_id"], model["task_id"]) == (person.id, task["task_id"])
    assert (model["file_id"], model["task_type"]) == (task["request"]["file_id"], task["task_type"])
    row = next(r for r in _results(person, task)["leaderboard"] if r["model_name"] == best)
    assert model["algorithm"] == row["algorithm"]
    metrics = METRICS[task["task_type"]].split(",")
    assert {name: model["metrics"][name] for name in metrics} == {name: row[name] for name in metrics}
    assert (model["sha256"], model["file_size"]) == (stored.sha256, len(stored.content))
    assert model["file_path"].startswith(f"{person.id}/Best_of_")
    assert model["file_path"].endswith(".pkl")
    assert (model["deleted"], model["links_issued"], model["transfers"]) == (False, 0, 0)

    path = f"/models/{model['id']}"
    listed = person.get("/models", params={"tag": tag})["items"]
    assert [item["id"] for item in listed] == [model["id"]]
    assert person.get("/models", params={"q": name})["items"] == listed
    after = person.get("/models/stats")
    assert (after["count"], after["bytes"]) == (before["count"] + 1, before["bytes"] + len(stored.content))
    kind = task["task_type"]
    assert after["by_task_type"][kind] == before["by_task_type"].get(kind, 0) + 1

    link = person.link(f"{path}/download")
    assert link["sha256"] == stored.sha256
    assert link["filename"].endswith(".pkl")
    assert httpx.get(link["url"]).content == stored.content
    fetched = person.fetch(f"{path}/download")
    assert (fetched.name, fetched.sha256) == (link["filename"], stored.sha256)
    assert fetched.into(folder).read_bytes() == stored.content
    counted = person.get(path)
    # through the API where the store cannot name a file, else by a second link
    assert counted["links_issued"] >= 1
    assert counted["links_issued"] + counted["transfers"] == 2

    changed = person.http.patch(path, json={"model_name": "Renamed", "description": None, "tags": []})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["model_name"], changed.json()["description"]) == ("Renamed", None)
    assert person.fetch(f"{path}/download").name == "Renamed.pkl"

    assert person.http.delete(path).status_code == 204
    gone = person.http.get(f"{path}/download")
    assert (gone.status_code, gone.json()["detail"]) == (404, "Model not found")
    assert model["id"] not in {item["id"] for item in person.get("/models")["items"]}
    assert model["id"] in {item["id"] for item in person.get("/models?deleted=true")["items"]}
    assert person.get("/models/stats")["count"] == before["count"]
    restored = person.http.post(f"{path}/restore")
    assert (restored.status_code, restored.json()["deleted"]) == (200, False)
    assert person.fetch(f"{path}/download").sha256 == stored.sha256
