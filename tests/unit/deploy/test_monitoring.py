"""What operators are told of metrics is what there is: the page, what is scraped, what compose starts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest

from deploy.env import PROJECT
from services.trainer import step_record
from shared import metrics
from shared.contracts.states import JobKind
from tests.monitoring import known
from tests.monitoring.prometheus import MONITORING, here

PAGE = (PROJECT / "docs" / "observability.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
BESIDE: dict[str, Any] = yaml.safe_load((PROJECT / "deploy" / "compose.monitoring.yml").read_text())
WATCHERS: dict[str, Any] = BESIDE["services"]
CONFIG: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
GRAFANA = MONITORING / "grafana"
NAME = re.compile(r"\btrainyard_\w+")


# --- the page ---------------------------------------------------------------------------------------


def test_the_page_lists_every_metric_with_its_labels() -> None:
    table = PAGE.partition("<!-- metrics: begin -->")[2].partition("<!-- metrics: end -->")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if "`trainyard" in line
    ]
    listed = {name.strip("`"): tuple(re.findall(r"`(\w+)`", labels)) for name, labels, *_ in rows}
    assert listed == {name: one.labels for name, one in known.declared().items()}
    assert all(where and what for _, _, where, what in rows)


def test_the_page_speaks_of_no_metric_that_is_not_there() -> None:
    assert set(NAME.findall(PAGE)) <= known.sample_names()


def test_a_query_on_the_page_asks_for_what_there_is() -> None:
    queries = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    assert queries
    assert [list(known.faults(query)) for query in queries] == [[] for _ in queries]


# --- what is shown ----------------------------------------------------------------------------------


def shown() -> str:
    return generate_latest(REGISTRY).decode()


def test_what_is_counted_is_shown_before_it_happens() -> None:
    """Of a counter that is born at 1 nobody sees that it has grown."""
    metrics.begin_at_zero([JobKind.SAVE])
    step_record.begin_at_zero(["fit"])
    text = shown()
    for sample in (
        'trainyard_jobs_given_up_total{kind="save"}',
        'trainyard_takeovers_total{kind="save"}',
        'trainyard_artifacts_refused_total{kind="save"}',
        'trainyard_jobs_total{kind="save",outcome="lease_lost"}',
        'trainyard_disk_full_total{where="postgres"}',
        'trainyard_disk_full_total{where="trainer"}',
        'trainyard_steps_total{outcome="killed",step="fit"}',
        'trainyard_candidates_total{model_name="ridge",outcome="failed"}',
    ):
        assert f"{sample} " in text, sample


def test_no_series_tells_when_another_began() -> None:
    assert "_created" not in shown()


# --- what is scraped --------------------------------------------------------------------------------


def test_what_is_scraped_is_where_compose_puts_it() -> None:
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in CONFIG["scrape_configs"]}
    assert found.keys() == {"api", "trainer", "packager"}
    for name, where in found.items():
        environment = COMPOSE["services"][name]["environment"]
        port = environment["PORT" if name == "api" else "METRICS_PORT"]
        assert (where["names"], where["type"], where["port"]) == ([name], "A", int(port))


def test_on_one_machine_the_rest_of_the_configuration_is_the_same() -> None:
    local = here({"api": [8000], "trainer": [9100, 9101]}, every_s=0.5)
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in local["scrape_configs"]}
    assert jobs == {
        "api": ["127.0.0.1:8000"],
        "trainer": ["127.0.0.1:9100", "127.0.0.1:9101"],
        "packager": [],
    }
    assert local["global"]["scrape_interval"] == "500ms"
    for job in local["scrape_configs"]:
        assert job.keys() == {"job_name", "static_configs"}, "whatever else is configured is to be tried, too"


@pytest.mark.parametrize("name", ["api", "trainer", "packager"])
def test_in_a_cluster_the_labels_are_the_same(name: str) -> None:
    """What the manifests say of a pod is what it is found and called by."""
    [job] = yaml.safe_load((MONITORING / "prometheus.kubernetes.yml").read_text())["scrape_configs"]
    manifests = yaml.safe_load_all((PROJECT / "deploy" / "k8s" / "base" / f"{name}.yaml").read_text())
    [pod] = [one["spec"]["template"] for one in manifests if one["kind"] == "Deployment"]
    annotations, labels = pod["metadata"]["annotations"], pod["metadata"]["labels"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/path"] == "/metrics"
    ports = [port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", [])]
    assert int(annotations["prometheus.io/port"]) in ports
    assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/component"]) == ("trainyard", name)
    made = {rule["target_label"]: rule["source_labels"] for rule in job["relabel_configs"][-2:]}
    assert made == {
        "job": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"],
        "instance": ["__meta_kubernetes_pod_name"],
    }


# --- what compose starts ----------------------------------------------------------------------------


def test_it_is_part_of_the_same_deployment_and_starts_where_it_is_asked_for() -> None:
    assert COMPOSE["include"] == ["deploy/compose.monitoring.yml"]
    assert {name: one["profiles"] for name, one in WATCHERS.items()} == {
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
        "jaeger": ["tracing"],
    }
    # compose takes one that is defined twice only where both are the same
    assert BESIDE["networks"] == COMPOSE["networks"]
    assert not BESIDE["services"].keys() & COMPOSE["services"].keys()
    assert not BESIDE["volumes"].keys() & COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", WATCHERS)
def test_what_watches_has_no_rights_and_shows_itself_to_this_machine_alone(name: str) -> None:
    service = WATCHERS[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    for mount in service.get("volumes", []):
        source, _, target = mount.partition(":")
        if source.startswith("./"):
            assert target.endswith(":ro")
            assert (PROJECT / "deploy" / source).exists(), source


def test_grafana_has_no_password_and_reaches_prometheus_alone() -> None:
    grafana = WATCHERS["grafana"]
    assert grafana["networks"] == ["edge"], "databases are in data"
    environment = grafana["environment"]
    assert not [name for name in environment if "PASSWORD" in name]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    mounts = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    [dashboards] = [source for source, target in mounts.items() if home.startswith(f"{target}/")]
    assert (PROJECT / "deploy" / dashboards / home.rpartition("/")[2]).is_file()


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    assert source["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/trainyard.yml").read_text())["providers"]
    targets = [mount.split(":")[1] for mount in WATCHERS["grafana"]["volumes"]]
    assert provider["options"]["path"] in targets
    assert provider["allowUiUpdates"] is False


def test_traces_are_looked_at_where_they_are_sent() -> None:
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4318 docker compose" in PAGE
    assert "data" in WATCHERS["jaeger"]["networks"]
    for name in ("api", "trainer", "packager"):
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in COMPOSE["services"][name]["environment"]
