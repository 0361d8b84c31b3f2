"""Alerts ask for what there is, fire when they should and say what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.env import PROJECT
from tests.monitoring import known, promql
from tests.monitoring.programs import program
from tests.monitoring.prometheus import MONITORING, RULES, TESTS

FOUND: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
CASES: list[dict[str, Any]] = yaml.safe_load(TESTS.read_text())["tests"]
RUNBOOK = (PROJECT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("rule", FOUND, ids=lambda rule: str(rule["alert"]))
def test_a_rule_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert list(known.faults(rule["expr"])) == []
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "action", "runbook"}
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert named <= known.TARGET | promql.labels(rule["expr"])


@pytest.mark.parametrize("rule", FOUND, ids=lambda rule: str(rule["alert"]))
def test_a_rule_has_its_paragraph_in_the_runbook(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    chapter = RUNBOOK.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    paragraph = re.search(rf"(?ms)^### {name}\n(.*?)(?=^### |\Z)", chapter)
    assert paragraph, f"### {name}"
    assert len(paragraph[1].split()) > 20


def test_the_runbook_has_no_alert_that_is_not_there() -> None:
    chapter = RUNBOOK.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^### (\w+)$", chapter) == [rule["alert"] for rule in FOUND]


def test_every_alert_is_tried_and_so_is_an_installation_that_is_well() -> None:
    tried = set(re.findall(r'alertname="(\w+)"', TESTS.read_text()))
    assert tried == {rule["alert"] for rule in FOUND}
    well = CASES[-1]
    assert [(test["expr"], test["exp_samples"]) for test in well["promql_expr_test"]] == [("ALERTS", [])]
    # in that one every figure is there that an alert looks at, but those of what only some processes have
    there = {re.split(r"[{ ]", one["series"])[0] for one in well["input_series"]}
    asked = {selector.name for rule in FOUND for selector in promql.selectors(rule["expr"])}
    assert asked - there == {"trainyard_http_request_seconds_bucket"}


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """By promtool where there is one. Elsewhere the series that they are tried with are held to the metrics
    that there are, so that they stay what would come."""
    promtool = program("promtool")
    # Debian's knows no clusters; what is made of what they say is the same for it
    found_otherwise = tmp_path / "prometheus.yml"
    in_a_cluster = (MONITORING / "prometheus.kubernetes.yml").read_text()
    found_otherwise.write_text(
        in_a_cluster.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []")
    )
    if promtool:
        for command in (
            ["check", "rules", str(RULES)],
            ["check", "config", "--syntax-only", str(MONITORING / "prometheus.yml")],
            ["check", "config", "--syntax-only", str(found_otherwise)],
            ["test", "rules", str(TESTS)],
        ):
            done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    for case in CASES:
        for one in case["input_series"]:
            assert list(known.faults(one["series"].replace("somebody-elses", "api"))) == [], one
