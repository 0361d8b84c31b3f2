"""What operators are told of metrics is what there is: the page, the rules that alert, the configuration."""

from __future__ import annotations

import importlib
import re
from typing import Any, get_args

import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.env import PROJECT
from services.trainer.child_outcome import Kind
from shared.contracts import JobKind

MONITORING = PROJECT / "deploy" / "monitoring"
PAGE = (PROJECT / "docs" / "observability.md").read_text()
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
BESIDE = yaml.safe_load((PROJECT / "deploy" / "compose.monitoring.yml").read_text())["services"]
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAME = re.compile(r"\btrainyard_\w+")


def ours() -> dict[str, tuple[str, ...]]:
    """Metric → its labels."""
    importlib.import_module("services.api.observe")
    importlib.import_module("shared.metrics")
    collectors: Any = REGISTRY._collector_to_names
    return {
        collector._name: collector._labelnames
        for collector in collectors
        if getattr(collector, "_name", "").startswith("trainyard_")
    }


def samples() -> set[str]:
    """Every name that a sample of ours may have."""
    return {name for names in REGISTRY._collector_to_names.values() for name in names}


def test_the_page_lists_every_metric_with_its_labels() -> None:
    table = PAGE.partition("<!-- metrics: begin -->")[2].partition("<!-- metrics: end -->")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if "`trainyard" in line
    ]
    listed = {name.strip("`"): tuple(re.findall(r"`(\w+)`", labels)) for name, labels, *_ in rows}
    assert listed == ours()
    assert all(where and what for _, _, where, what in rows)


def test_the_page_speaks_of_no_metric_that_is_not_there() -> None:
    ours()
    assert set(NAME.findall(PAGE)) <= samples()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    labels = ours()
    expr = rule["expr"]
    assert set(NAME.findall(expr)) <= samples()
    for name, given in re.findall(r"(trainyard_\w+)\{([^}]*)\}", expr):
        metric = re.sub(r"_(?:total|bucket|sum|count)$", "", name)
        for label, _, values in re.findall(r'(\w+)(!?=~?)"([^"]*)"', given):
            assert label in labels[metric], (name, label)
            known = {"kind": set(JobKind), "outcome": {*get_args(Kind), "cut_short"}}.get(label)
            if known is not None:
                assert set(values.split("|")) <= known, (name, values)
    assert expr.count("(") == expr.count(")")
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "action"}


def test_what_is_scraped_is_where_compose_puts_it() -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs}
    assert found.keys() == {"api", "trainer", "packager"}
    for name, where in found.items():
        environment = COMPOSE[name]["environment"]
        port = environment["PORT" if name == "api" else "METRICS_PORT"]
        assert (where["names"], where["port"]) == ([name], int(port))


def test_what_watches_has_no_rights_and_shows_itself_to_this_machine_alone() -> None:
    watchers = BESIDE.keys() - COMPOSE.keys()
    assert watchers == {"prometheus", "jaeger"}
    for name in watchers:
        service = BESIDE[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert not service["image"].endswith(":latest")
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert not source.startswith("./") or (PROJECT / source).is_file(), source
    for name in BESIDE.keys() & COMPOSE.keys():
        assert "jaeger:4318" in BESIDE[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
