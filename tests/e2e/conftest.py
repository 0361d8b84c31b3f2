"""One whole stack a session, people who use it, and runs that several tests look at."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import stack as stacks
from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.stack import Stack
from tests.integration.otlp import Receiver, receiving
from tests.monitoring import prometheus
from tests.monitoring.programs import program
from tests.monitoring.prometheus import Prometheus

BUDGET_S = 150
"""Above what the runs take on a slow machine: here every model is wanted, not what a budget leaves."""
SERVICES = ("api", "trainer", "packager")
FOLDS = 3
"""What the folds are for is tried elsewhere."""


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Whom the stack sends its traces to."""
    with receiving(tmp_path_factory.mktemp("otlp")) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with stacks.running(tmp_path_factory.mktemp("stack"), **traced) as stack:
        yield stack


@pytest.fixture(scope="session")
def watcher(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus | None]:
    """A Prometheus that sees all runs from their beginning, where there is one."""
    ports = json.loads((stack.directory / "ports.json").read_text())
    config = prometheus.here({name: [ports[name]] for name in SERVICES}, every_s=1.0)
    found = program("prometheus")
    with contextlib.ExitStack() as until:
        folder = tmp_path_factory.mktemp("prometheus")
        yield until.enter_context(prometheus.running(found, config, folder)) if found else None


@pytest.fixture(scope="session")
def ann(stack: Stack, watcher: Prometheus | None) -> Iterator[Person]:
    """Who owns the runs below."""
    person = Person(stack.url, "ann@example.com")
    yield person
    person.close()


@pytest.fixture(scope="session")
def wine_run(ann: Person) -> dict[str, Any]:
    """Every classifier on a table of numbers, the labels being words."""
    return ann.run(tables.wine(), "cultivar", cv_folds=FOLDS, time_budget_s=BUDGET_S)


@pytest.fixture(scope="session")
def voters_run(ann: Person) -> dict[str, Any]:
    """Some classifiers, one of each library, on columns of every kind."""
    models = ["logistic_regression", "random_forest", "xgboost", "lightgbm"]
    return ann.run(tables.voters(), "vote", models=models, cv_folds=FOLDS, time_budget_s=BUDGET_S)


@pytest.fixture(scope="session")
def diabetes_run(ann: Person) -> dict[str, Any]:
    """Every regressor."""
    return ann.run(tables.diabetes(), "progression", cv_folds=FOLDS, time_budget_s=BUDGET_S)


@pytest.fixture(scope="session")
def flats_run(ann: Person) -> dict[str, Any]:
    """A regression with dates and text, and ensembles of what was trained."""
    models = ["ridge", "random_forest", "k_nearest_neighbors", "weighted_ensemble", "stacked_ensemble"]
    return ann.run(tables.flats(), "rent", models=models, cv_folds=FOLDS, time_budget_s=BUDGET_S)


@pytest.fixture(scope="session")
def series_run(ann: Person) -> dict[str, Any]:
    """Every forecaster on one monthly series."""
    return ann.run(
        tables.carbon_dioxide(),
        "ppm",
        task_type="time_series",
        time_column="month",
        horizon=12,
        time_budget_s=BUDGET_S,
    )


@pytest.fixture(scope="session")
def panel_run(ann: Person) -> dict[str, Any]:
    """Some forecasters on eleven yearly series."""
    return ann.run(
        tables.investment(),
        "invest",
        time_column="year",
        series_column="firm",
        models=["auto_ets", "lightgbm"],
        horizon=3,
        time_budget_s=BUDGET_S,
    )
