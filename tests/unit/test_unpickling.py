"""There is one place that opens pickles, and nothing else in the product can be made to open one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PRODUCT = [path for part in ("shared", "services") for path in sorted((PROJECT / part).rglob("*.py"))]
"""`deploy` and the tests are no part of what runs for users."""

HANDED_OVER = "services/trainer/report/predict.py"
"""Packed into ZIPs as text, for users to run at home; nothing of ours imports it."""

THE_PLACE = "services/trainer/loading.py"
ITS_USERS = {
    f"services/trainer/{name}.py"
    for name in ("convert", "convert_onnx", "ensemble_fit", "fit", "fit_series", "series_ensemble_fit")
}
"""Steps, which run in children, and only there."""

CALLS = {
    "joblib": {"load"},
    "numpy": {"load"},
    "pandas": {"read_pickle", "read_hdf"},
    "torch": {"load"},
    "yaml": {"load", "load_all", "unsafe_load", "full_load"},
}
"""What unpickles among much that does not."""

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle"}
"""Nothing of these is needed anywhere."""

METHODS = {"read_pickle", "set_pickle", "Unpickler", "load_learner"}


def findings(source: str) -> Iterator[str]:
    """What of the above a module names, under whatever name it imports it."""
    names: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = alias.name.partition(".")[0]
                if alias.name.partition(".")[0] in MODULES:
                    yield f"{node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            top = node.module.partition(".")[0]
            if top in MODULES:
                yield f"{node.lineno}: from {node.module}"
            for alias in node.names:
                if alias.name in CALLS.get(top, set()):
                    yield f"{node.lineno}: from {node.module} import {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = names.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if node.attr in METHODS or (owner and node.attr in CALLS.get(owner, set())):
                yield f"{node.lineno}: {owner or '…'}.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield f"{node.value.lineno}: allow_pickle"
        elif isinstance(node, ast.Name) and node.id in ("__import__", "eval", "exec"):
            yield f"{node.lineno}: {node.id}"


def test_pickles_are_opened_in_one_place() -> None:
    assert len(PRODUCT) > 80
    found = {str(path.relative_to(PROJECT)): list(findings(path.read_text())) for path in PRODUCT}
    assert {path: lines for path, lines in found.items() if lines}.keys() == {THE_PLACE, HANDED_OVER}


def test_what_is_handed_over_as_text_is_never_imported() -> None:
    importing = [
        str(path)
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and "report.predict" in (node.module or ""))
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "predict" for alias in node.names))
        or (isinstance(node, ast.Import) and any("report.predict" in alias.name for alias in node.names))
    ]
    assert importing == []


def test_only_steps_use_that_place() -> None:
    users = {
        str(path.relative_to(PROJECT))
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.ImportFrom)
            and (
                node.module == "services.trainer.loading"
                or (node.module == "services.trainer" and any(a.name == "loading" for a in node.names))
            )
        )
        or (isinstance(node, ast.Import) and any(a.name == "services.trainer.loading" for a in node.names))
    }
    assert users == ITS_USERS


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import joblib\njoblib.load('x')",
        "import joblib as j\nf = j.load",
        "from joblib import load",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import pandas as pd\npd.read_pickle('x')",
        "import pandas\npandas.io.pickle.read_pickle('x')",
        "import torch\ntorch.load('x')",
        "import yaml\nyaml.load('x')",
        "import cloudpickle",
        "import dill as d",
        "import marshal",
        "import shelve",
        "np.fromfile('x', allow_pickle=flag)",
        "__import__('pickle')",
        "eval('x')",
    ],
)
def test_each_way_is_seen(source: str) -> None:
    assert list(findings(source))


@pytest.mark.parametrize(
    "source",
    ["import joblib\njoblib.dump(m, 'x')", "import json\njson.load(f)", "np.save('x', allow_pickle=False)"],
)
def test_and_nothing_else(source: str) -> None:
    assert not list(findings(source))
