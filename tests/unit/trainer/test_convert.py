"""Models as .skops: they predict what the pickle does, and name every type that they need."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from services.trainer import candidates, convert, fit, loading, prepare
from services.trainer.explain import example as example_of
from services.trainer.outcome import MODEL_FILE, SKOPS_FILE, Example
from shared.contracts.catalogue import ENSEMBLES, MODELS
from shared.contracts.downloads import NOT_SCIKIT_LEARN
from shared.contracts.states import TaskType
from shared.errors import NotConvertible, StorageCorrupt
from tests.unit.trainer import mixed_table

TABULAR = [
    (kind, slug)
    for kind in (TaskType.CLASSIFICATION, TaskType.REGRESSION)
    for slug in MODELS[kind]
    if slug not in ENSEMBLES
]
OPEN_AND_PREDICT = """
import json, sys
import pandas, skops.io
path, given = sys.argv[1], json.load(sys.stdin)
model = skops.io.load(path, trusted=given["types"])
predictions = pandas.Series(model.predict(pandas.DataFrame(given["rows"]))).tolist()
print(json.dumps([predictions, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


SETTINGS = {
    TaskType.CLASSIFICATION: candidates.Settings(effort=20),
    TaskType.REGRESSION: candidates.Settings(effort=20, shape="log1p"),
}


def fitted(kind: TaskType, slug: str, folder: Path) -> tuple[Path, str, Example, pd.DataFrame]:
    """A model on a table with everything in it: its pickle, that's SHA-256, its example, the features."""
    table = mixed_table.features(150)
    target = (
        mixed_table.classes(table, "words")
        if kind is TaskType.CLASSIFICATION
        else 10 + mixed_table.signal(table)
    )
    columns = prepare.survey(table, mixed_table.ROLES)
    y = target.to_numpy()
    given = candidates.situation(columns, y, kind, 0, 1, settings=SETTINGS[kind])
    model = candidates.build(slug, kind, given).fit(table, y)
    pickled = folder / MODEL_FILE
    joblib.dump(model, pickled, compress=fit.COMPRESSION)
    return pickled, digest(pickled), example_of(model, table, np.arange(5)), table


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("kind", "slug"), [each for each in TABULAR if each[1] not in NOT_SCIKIT_LEARN])
def test_every_model_of_scikit_learn_predicts_the_same(kind: TaskType, slug: str, tmp_path: Path) -> None:
    pickled, sha256, example, table = fitted(kind, slug, tmp_path)
    made = convert.convert(pickled, sha256, example, tmp_path)
    reloaded = skops.io.load(tmp_path / SKOPS_FILE, trusted=made.types)
    model = joblib.load(pickled)
    np.testing.assert_array_equal(reloaded.predict(table), model.predict(table))
    if kind is TaskType.CLASSIFICATION:
        np.testing.assert_array_equal(reloaded.predict_proba(table), model.predict_proba(table))
    assert made.types == sorted(set(made.types)) == skops.io.get_untrusted_types(file=tmp_path / SKOPS_FILE)
    # functions of a class are named one by one, and nothing is that could name others
    assert "pandas.core.generic.NDFrame.astype" in made.types
    assert not {t for t in made.types if t.startswith(("builtins.", "operator.", "_operator."))} - {
        "builtins.object",
        "operator.attrgetter",  # of parts of a date, which it reads and does not call
    }
    assert made.requires == [f"skops=={skops.__version__}"]


@pytest.mark.parametrize(("kind", "slug"), [each for each in TABULAR if each[1] in NOT_SCIKIT_LEARN])
def test_models_of_other_libraries_are_refused(kind: TaskType, slug: str, tmp_path: Path) -> None:
    pickled, sha256, example, _ = fitted(kind, slug, tmp_path)
    with pytest.raises(NotConvertible, match=rf"not of scikit-learn alone: .*{slug}\."):
        convert.convert(pickled, sha256, example, tmp_path)


def test_a_file_opens_without_any_of_our_code(tmp_path: Path) -> None:
    pickled, sha256, example, _ = fitted(TaskType.CLASSIFICATION, "logistic_regression", tmp_path)
    made = convert.convert(pickled, sha256, example, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ran = subprocess.run(
        [sys.executable, "-I", "-c", OPEN_AND_PREDICT, tmp_path / SKOPS_FILE],
        input=json.dumps({"types": made.types, "rows": example.rows}),
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    predictions, modules = json.loads(ran.stdout)
    assert predictions == example.predictions
    assert not {"services", "shared"} & set(modules)


@pytest.mark.parametrize(
    "missing", ["pandas.core.generic.NDFrame.astype", "pandas.core.tools.numeric.to_numeric"]
)
def test_it_does_not_open_where_one_type_is_not_trusted(missing: str, tmp_path: Path) -> None:
    pickled, sha256, example, _ = fitted(TaskType.REGRESSION, "ridge", tmp_path)
    made = convert.convert(pickled, sha256, example, tmp_path)
    with pytest.raises(TypeError, match=missing):
        skops.io.load(tmp_path / SKOPS_FILE, trusted=[name for name in made.types if name != missing])


class Trap:
    """Opening its pickle leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_another_file_is_not_opened(tmp_path: Path) -> None:
    sprung, trap = tmp_path / "sprung", tmp_path / "trap.pkl"
    trap.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(StorageCorrupt):
        loading.verified(trap, "0" * 64)
    assert not sprung.exists()
    loading.verified(trap, digest(trap)).close()
    assert sprung.exists()  # so it is a trap


def test_what_holds_code_of_its_own_is_refused(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(print), LogisticRegression())
    path = tmp_path / MODEL_FILE
    joblib.dump(model, path)
    with pytest.raises(NotConvertible, match=r"it holds builtins\.print"):
        convert.convert(path, digest(path), Example(rows=[], predictions=[]), tmp_path)


def test_what_skops_cannot_write_is_refused(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(np.clip, kw_args={"a_min": iter([1])}), LogisticRegression())
    path = tmp_path / MODEL_FILE
    joblib.dump(model, path)
    with pytest.raises(NotConvertible):
        convert.convert(path, digest(path), Example(rows=[], predictions=[]), tmp_path)


def test_a_file_that_predicts_otherwise_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled, sha256, example, _ = fitted(TaskType.REGRESSION, "ridge", tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    wrong = joblib.load(pickled)
    wrong.named_steps["model"].regressor_.intercept_ += 1.0
    monkeypatch.setattr(skops.io, "load", lambda *_, **__: wrong)
    with pytest.raises(NotConvertible, match="predicts something else"):
        convert.convert(pickled, sha256, example, other)


def test_it_is_packed(tmp_path: Path) -> None:
    pickled, sha256, example, _ = fitted(TaskType.REGRESSION, "random_forest", tmp_path)
    convert.convert(pickled, sha256, example, tmp_path)
    with zipfile.ZipFile(tmp_path / SKOPS_FILE) as archive:
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert (tmp_path / SKOPS_FILE).stat().st_size < 6 * pickled.stat().st_size
