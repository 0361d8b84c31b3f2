"""Dashboards: Grafana reads what is written in Python, knows all of it, and asks for what there is."""

from __future__ import annotations

import json
import warnings
from enum import EnumType
from itertools import combinations
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import bargauge, stat, timeseries, units

from deploy.env import PROJECT
from deploy.monitoring.grafana import COLUMNS, DASHBOARDS, FOLDER, PROMETHEUS, path_of, written
from deploy.monitoring.panels import Dashboard
from tests.monitoring import known

with warnings.catch_warnings():
    # of the next form of dashboards, of which there are no files to be provisioned yet
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard as Known

UNITS = {value for name, value in vars(units).items() if not name.startswith("_")}
PLUGINS: dict[str, Any] = {"stat": stat, "timeseries": timeseries, "bargauge": bargauge}
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: str(dashboard.uid))


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path_of(dashboard).read_text())["panels"]
    return found


@each
def test_what_is_provisioned_is_what_is_written_down(dashboard: Dashboard) -> None:
    said = "other than in Python: `python -m deploy.monitoring.grafana` writes it anew"
    assert path_of(dashboard).read_text() == written(dashboard), said


def test_nothing_else_is_provisioned_and_nothing_twice() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {path_of(dashboard).name for dashboard in DASHBOARDS}
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)


def lost(given: Any, kept: Any, at: str = "") -> list[str]:
    """What of `given` is not in `kept`."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [
            line
            for key, value in given.items()
            for line in (lost(value, kept[key], f"{at}/{key}") if key in kept else [f"{at}/{key}"])
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = zip(given, kept, strict=True)
        return [line for place, (a, b) in enumerate(pairs) for line in lost(a, b, f"{at}/{place}")]
    return [] if given == kept else [at]


@each
def test_grafana_knows_all_that_stands_in_it(dashboard: Dashboard) -> None:
    """Read by Grafana's own classes and written again, which leaves out what they do not know."""
    plugins.register_default_plugins()
    given = json.loads(path_of(dashboard).read_text())
    assert lost(given, json.loads(JSONEncoder().encode(Known.from_json(given)))) == []
    spoilt = json.loads(json.dumps(given).replace('"legendFormat"', '"legend"').replace('"calcs"', '"calc"'))
    assert lost(spoilt, json.loads(JSONEncoder().encode(Known.from_json(spoilt)))) != []


@each
def test_its_panels_are_drawn_in_ways_and_units_that_there_are(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS or defaults["unit"].startswith("suffix:"), panel["title"]
        kinds = PLUGINS[panel["type"]].Options.__annotations__
        for name, value in vars(PLUGINS[panel["type"]].Options.from_json(panel["options"])).items():
            if isinstance(kinds[name], EnumType):
                assert value in set(kinds[name]), (panel["title"], name, value)


@each
def test_its_panels_have_places_of_their_own(dashboard: Dashboard) -> None:
    found = panels(dashboard)
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({panel["title"] for panel in found}) == len(found)
    for panel in found:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
    for one, other in combinations([panel["gridPos"] for panel in found], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@each
def test_its_queries_ask_for_what_there_is(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            assert list(known.faults(target["expr"])) == [], panel["title"]
            assert target["datasource"] == panel["datasource"] == PROMETHEUS
            asked = set(known.promql.labels(target["expr"]))
            named = set(known.legend_labels(target["legendFormat"]))
            assert named <= asked | known.TARGET, (
                f"{panel['title']}: its legend names what it does not group by"
            )


def test_every_metric_is_shown_somewhere() -> None:
    shown = {
        selector.name
        for dashboard in DASHBOARDS
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
        for selector in known.promql.selectors(target["expr"])
    }
    bare = {known.bare(name) for name in shown}
    assert known.declared().keys() - bare == set()


def test_the_page_names_the_dashboards() -> None:
    page = (PROJECT / "docs" / "observability.md").read_text()
    for dashboard in DASHBOARDS:
        assert f"| {dashboard.title} |" in page
        picture = f"images/monitoring-{dashboard.uid.removeprefix('trainyard-')}.png"
        assert f"({picture})" in page
        assert (PROJECT / "docs" / picture).stat().st_size <= 300_000
