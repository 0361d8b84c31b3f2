"""Classification on real tables, from the upload to a model in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import pytest

from tests.e2e import checks, tables
from tests.e2e.person import Person

PLOTS = {"confusion_matrix", "roc_curve", "precision_recall_curve", "calibration_curve", "lift_curve"}
CLASSIFIERS = {
    "logistic_regression",
    "random_forest",
    "extra_trees",
    "hist_gradient_boosting",
    "xgboost",
    "lightgbm",
    "catboost",
    "k_nearest_neighbors",
    "naive_bayes",
    "mlp",
}


def test_upload_and_profile(ann: Person) -> None:
    table = tables.voters()
    file = ann.upload(table)
    assert (file["name"], file["size_bytes"]) == ("voters.csv", len(table.content))
    answer = ann.profile(file["file_id"])
    assert answer.status_code == 200, answer.text
    profile = answer.json()
    columns = {column["name"]: column for column in profile["columns"]}
    assert profile["rows"] == len(table.frame)
    assert list(columns) == list(table.frame.columns)
    assert {name: column["missing"] for name, column in columns.items()} == dict(table.frame.isna().sum())
    assert columns["interviewed"]["role"] == "datetime"
    assert columns["party"]["role"] == "categorical"
    assert (columns["age"]["role"], columns["age"]["max"]) == ("numeric", table.frame["age"].max())
    assert {entry["value"] for entry in columns["vote"]["top"]} == {"Clinton", "Dole"}
    seen = ann.get(f"/files/{file['file_id']}")
    assert (seen["rows"], seen["columns"]) == table.frame.shape


def test_the_first_rows_are_shown_as_they_were_read(ann: Person) -> None:
    table = tables.wine()
    file_id = ann.upload(table)["file_id"]
    ann.profile(file_id)
    shown = ann.get(f"/files/{file_id}/preview")
    assert shown["columns"] == list(table.frame.columns)
    assert [row[-1] for row in shown["rows"]] == list(table.frame["cultivar"][:50])
    assert [float(row[0]) for row in shown["rows"]] == list(table.frame["alcohol"][:50])


def test_a_run_tells_how_it_gets_on(ann: Person) -> None:
    file = ann.upload(tables.iris())
    models = ["naive_bayes", "logistic_regression", "k_nearest_neighbors"]
    task = ann.train(file["file_id"], "species", models=models, time_budget_s=60, name="Flowers")
    assert (task["status"], task["stage"], task["progress"]) == ("queued", "queued", 0.0)
    early = ann.http.get(f"/ml/download-model/{task['task_id']}/best_model")
    assert (early.status_code, early.json()["detail"]) == (400, "Training not completed")
    assert early.headers["Content-Type"] == "application/problem+json"
    assert ann.http.delete(f"/files/{file['file_id']}").status_code == 409

    seen = ann.changes(task["task_id"])
    checks.completed(seen[-1], models=3)
    versions = [state["version"] for state in seen]
    assert versions == sorted(set(versions))
    shares = [state["progress"] for state in seen]
    assert shares == sorted(shares)
    assert "running" in {state["status"] for state in seen}
    assert seen[-1]["name"] == "Flowers"
    assert seen[-1]["task_type"] == "classification"
    assert seen[-1]["request"]["models"] == models
    assert ann.get("/ml/tasks", params={"status": "completed"})["items"][0] == seen[-1]


def test_every_classifier_on_numbers(ann: Person, wine_run: dict[str, Any], tmp_path: Path) -> None:
    checks.completed(wine_run, models=len(CLASSIFIERS))
    assert {c["model_name"] for c in wine_run["candidates"]} == CLASSIFIERS | checks.ENSEMBLES
    assert (wine_run["task_type"], wine_run["metric"]) == ("classification", "accuracy")
    rows = checks.leaderboard(ann, wine_run)
    assert all(row["cv_mean"] > 0.85 and row["roc_auc"] > 0.9 for row in rows)
    schema = ann.get(f"/ml/results/{wine_run['task_id']}")["schema"]
    assert schema["labels"] == ["Barbera", "Barolo", "Grignolino"]
    checks.plots(ann, wine_run, PLOTS)
    checks.files(ann, wine_run, tmp_path)
    checks.registry(ann, wine_run, tmp_path)


def test_columns_of_every_kind(ann: Person, voters_run: dict[str, Any], tmp_path: Path) -> None:
    checks.completed(voters_run, models=4)
    rows = checks.leaderboard(ann, voters_run)
    assert rows[0]["cv_mean"] > 0.85, "parties tell votes"
    results = ann.get(f"/ml/results/{voters_run['task_id']}")
    assert results["importance"], "there was time for it"
    for found in results["importance"].values():
        assert max(found, key=lambda entry: entry["mean"])["feature"] == "party"
    unpacked = checks.files(ann, voters_run, tmp_path)

    table = tables.voters().frame
    whole = table.drop(columns="vote")
    for pickle in sorted(unpacked.glob("*.pkl")):
        model = joblib.load(pickle)
        predicted = model.predict(whole)
        assert set(predicted) == {"Clinton", "Dole"}
        assert (predicted == table["vote"]).mean() > 0.8
        # one row, columns in another order, words never seen, nothing known at all
        assert model.predict(whole.iloc[[3]])[0] == predicted[3]
        assert list(model.predict(whole[sorted(whole)])) == list(predicted)
        odd = whole.iloc[:2].astype(object)
        odd.iloc[0, :] = None
        odd.loc[1, ["party", "schooling", "watches_news"]] = "never heard of"
        assert set(model.predict(odd)) <= {"Clinton", "Dole"}


def test_deleting_a_run_leaves_what_was_saved(ann: Person) -> None:
    task = ann.run(tables.iris(), "species", models=["naive_bayes"], time_budget_s=60)
    model = ann.save(task["task_id"], "Kept", leaderboard_model="naive_bayes")
    assert ann.http.delete(f"/ml/tasks/{task['task_id']}").status_code == 204
    for path in ("status", "results", "download-leaderboard", "download-all-models", "bundles"):
        answer = ann.http.get(f"/ml/{path}/{task['task_id']}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Task not found")
    assert ann.http.delete(f"/files/{task['request']['file_id']}").status_code == 204
    assert ann.fetch(f"/models/{model['id']}/download").sha256 == model["sha256"]


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_a_browser_opens_downloads_with_its_cookie(
    ann: Person, voters_run: dict[str, Any], accept: str
) -> None:
    """`window.open` sends no header of ours."""
    assert ann.http.post("/auth/session").status_code == 204
    token = ann.http.headers.pop("Authorization")
    try:
        path = f"/ml/download-model/{voters_run['task_id']}/best_model"
        answer = ann.http.get(path, headers={"Accept": accept}, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        assert f'filename="best_model_{voters_run["task_id"]}.pkl"' in answer.headers["Content-Disposition"]
        assert ann.http.post("/models/save", json={}).status_code == 401, "the cookie is for GET alone"
    finally:
        ann.http.headers["Authorization"] = token
        ann.http.delete("/auth/session")
        ann.http.cookies.clear()
