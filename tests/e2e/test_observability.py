"""One run, as whoever operates the stack sees it: a trace over three services, a log that one id leads
through, metrics on every service."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded import load_credentials
from deploy.monitoring.grafana import DASHBOARDS
from deploy.monitoring.panels import Dashboard
from shared.contracts.catalogue import MODELS
from shared.contracts.states import JobKind
from tests.e2e.person import Person
from tests.e2e.stack import Stack
from tests.integration.otlp import Got, Receiver
from tests.monitoring import known, promql
from tests.monitoring.prometheus import RULES, Prometheus

API, TRAINER, PACKAGER = "trainyard-api", "trainyard-trainer", "trainyard-packager"
AN_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}")
LABELS = {"kind", "outcome", "model_name", "step", "operation", "layer", "method", "route", "status", "le"}
LABELS |= {
    "where",
    "state",
    "weight",
    "implementation",
    "major",
    "minor",
    "patchlevel",
    "version",
    "generation",
}
"""Each of them has few values, all of them ours or Python's."""


@pytest.fixture(scope="module")
def zipped(ann: Person, flats_run: dict[str, Any]) -> str:
    """The run's id; its ZIP is built."""
    task_id: str = flats_run["task_id"]
    ann.get("/ml/tasks")
    ann.fetch(f"/ml/download-all-models/{task_id}")
    return task_id


@pytest.fixture(scope="module")
def spans(receiver: Receiver, zipped: str) -> list[Got]:
    """All of them, once the last of the run's have come."""

    def whole(found: list[Got]) -> bool:
        mine = {span.name for span in found if span.attributes.get("trainyard.task_id") == zipped}
        return {"finish", "bundle", "GET /ml/download-all-models/{task_id}"} <= mine

    return receiver.wait(whole)


def below(spans: list[Got], top: Got) -> list[Got]:
    return [span for span in spans if span.parent_id == top.span_id and span.trace_id == top.trace_id]


def test_a_run_is_one_trace_from_its_request_to_its_report(
    spans: list[Got], zipped: str, flats_run: dict[str, Any]
) -> None:
    (plan,) = [s for s in spans if s.name == "plan" and s.attributes["trainyard.task_id"] == zipped]
    trace = {span.span_id: span for span in spans if span.trace_id == plan.trace_id}
    (root,) = [span for span in trace.values() if not span.parent_id]
    assert (root.name, root.service, plan.parent_id) == ("POST /ml/train", API, root.span_id)
    assert all(span.parent_id in trace for span in trace.values() if span is not root)
    fits = [span for span in trace.values() if span.name == "fit"]
    candidates = [c for c in flats_run["candidates"] if c["status"] == "done"]
    assert len(fits) == len(flats_run["candidates"])
    assert len({fit.attributes["trainyard.candidate_id"] for fit in fits}) == len(fits)
    assert Counter(fit.attributes["trainyard.outcome"] for fit in fits)["done"] == len(candidates)
    of_the_run = [s for s in trace.values() if s.name in ("plan", "fit", "finish")]
    assert {span.service for span in of_the_run} == {TRAINER}
    assert {span.attributes["trainyard.task_id"] for span in of_the_run} == {zipped}
    assert {span.attributes["trainyard.request_id"] for span in of_the_run} == {
        root.attributes["trainyard.request_id"]
    }
    assert {"claim plan", "claim fit", "claim finish"} <= {span.name for span in trace.values()}
    # the ensembles were asked for by the last of the other fits, and the report by the last of them
    asked_by = Counter(trace[fit.parent_id].name for fit in fits)
    assert asked_by == {"plan": 3, "fit": 2}
    (finish,) = [span for span in of_the_run if span.name == "finish"]
    assert trace[finish.parent_id].name == "fit"
    assert finish.began >= max(fit.began for fit in fits)


def test_a_fit_shows_where_its_time_went(spans: list[Got], zipped: str) -> None:
    whole = list(spans)
    fits = [s for s in whole if s.name == "fit" and s.attributes.get("trainyard.task_id") == zipped]
    plain = [fit for fit in fits if any(s.name == "step fit" for s in below(whole, fit))]
    assert len(plain) == 3
    for fit in plain:
        inside = below(whole, fit)
        (step,) = [span for span in inside if span.name == "step fit"]
        assert step.attributes["process.exit.code"] == 0
        assert step.attributes["trainyard.max_rss_bytes"] > 2**24
        phases = below(whole, step)
        assert {"Reading the table", "Validating", "Fitting on all rows"} <= {span.name for span in phases}
        assert all(step.began <= phase.began <= phase.ended <= step.ended for phase in phases)
        stored = [span for span in inside if span.name in ("S3.PutObject", "S3.UploadPart")]
        assert len(stored) >= 2  # the model, what it predicted, plots
        assert all(span.began >= step.ended for span in stored)
        assert all(zipped in span.attributes["aws.s3.key"] for span in stored)


def test_a_zip_is_part_of_the_request_that_asked_for_it(spans: list[Got], zipped: str) -> None:
    bundles = [s for s in spans if s.name == "bundle" and s.attributes["trainyard.task_id"] == zipped]
    # before the last one it looked whether its models were still being converted, and gave itself back
    bundle = max(bundles, key=lambda span: span.began)
    assert bundle.attributes["trainyard.outcome"] == "done"
    asked = {span.span_id: span for span in spans if span.trace_id == bundle.trace_id}[bundle.parent_id]
    assert (bundle.service, asked.service) == (PACKAGER, API)
    assert asked.name == "GET /ml/download-all-models/{task_id}"
    assert any(span.name.startswith("S3.") for span in below(spans, bundle))


def test_no_span_shows_a_secret(stack: Stack, receiver: Receiver, spans: list[Got]) -> None:
    sent = receiver.file.read_text()
    credentials = msgspec.structs.asdict(load_credentials(stack.directory))
    secrets = [str(value) for value in credentials.values() if len(str(value)) >= 16]
    assert len(secrets) >= 5
    assert [secret for secret in secrets if secret in sent] == []
    assert not re.search(r"eyJ[\w-]{10,}|X-Amz-Signature|Bearer ", sent)
    assert len(spans) > 50


# --- the log ----------------------------------------------------------------------------------------


def lines(stack: Stack, service: str) -> Iterator[dict[str, Any]]:
    for line in (stack.directory / "logs" / f"{service}.log").read_text().splitlines():
        yield json.loads(line)


def about(task_id: str, found: Iterator[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in found if line["event"] == event and line.get("task_id") == task_id]


def test_one_id_leads_through_the_log_of_every_service(
    stack: Stack, spans: list[Got], zipped: str, flats_run: dict[str, Any]
) -> None:
    (queued,) = about(zipped, lines(stack, "api"), event="task queued")
    of_run = [line for line in lines(stack, "trainer") if line.get("request_id") == queued["request_id"]]
    assert {line["job"] for line in of_run} == {"plan", "fit", "finish"}
    assert all(line["task_id"] == zipped for line in of_run)
    assert {line["user_id"] for line in of_run} == {queued["user_id"]}
    (plan,) = [s for s in spans if s.name == "plan" and s.attributes["trainyard.task_id"] == zipped]
    assert {line["trace_id"] for line in [queued, *of_run]} == {plan.trace_id}
    of_fits = [line for line in of_run if line["job"] == "fit"]
    assert len({line["candidate_id"] for line in of_fits}) == len(flats_run["candidates"])
    assert not any("candidate_id" in line for line in of_run if line["job"] != "fit")
    # how a child of the trainer's ended is told under the same ids
    ended = {line["step"] for line in of_fits if line["event"] == "child_ended"}
    assert ended == {"fit", "choose", "combine"}
    (ready,) = about(zipped, lines(stack, "packager"), event="bundle ready")
    bundles = [s for s in spans if s.name == "bundle" and s.trace_id == ready["trace_id"]]
    assert ready["request_id"] in {span.attributes["trainyard.request_id"] for span in bundles}


@pytest.mark.parametrize("service", ["api", "trainer", "packager"])
def test_every_line_says_when_where_and_how_bad(stack: Stack, zipped: str, service: str) -> None:
    found = list(lines(stack, service))
    assert found
    for line in found:
        assert line["service"] == service
        assert line["instance"]
        assert line["level"] in ("info", "warning", "error")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])


# --- the metrics ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metrics(stack: Stack, zipped: str) -> dict[str, dict[str, Metric]]:
    """Service → name → what it shows."""
    ports = json.loads((stack.directory / "ports.json").read_text())
    return {
        name: {family.name: family for family in text_string_to_metric_families(shown(ports[name]))}
        for name in ("api", "trainer", "packager")
    }


def shown(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text


def value(family: Metric, **labels: str) -> float:
    """The sum of the samples with these labels; of a histogram, how many it holds."""
    names = (family.name, f"{family.name}_total", f"{family.name}_count")
    return sum(s.value for s in family.samples if s.name in names and labels.items() <= s.labels.items())


def test_what_was_done_is_counted(metrics: dict[str, dict[str, Metric]], flats_run: dict[str, Any]) -> None:
    trainer, packager, api = metrics["trainer"], metrics["packager"], metrics["api"]
    for candidate in flats_run["candidates"]:
        model = candidate["model_name"]
        assert value(trainer["trainyard_candidates"], model_name=model, outcome="done") >= 1
        assert value(trainer["trainyard_fit_seconds"], model_name=model, outcome="done") >= 1
    for kind in ("profile", "plan", "fit", "finish"):
        assert value(trainer["trainyard_jobs"], kind=kind, outcome="done") >= 1
        assert value(trainer["trainyard_job_seconds"], kind=kind) >= 1
        assert value(trainer["trainyard_job_wait_seconds"], kind=kind) >= 1
    assert value(trainer["trainyard_steps"], step="fit", outcome="done") >= 3
    assert value(trainer["trainyard_step_peak_bytes"], step="fit") >= 3
    assert value(trainer["trainyard_slots"], weight="heavy") >= 1
    assert value(packager["trainyard_bundle_bytes"]) > 1000
    assert value(packager["trainyard_jobs"], kind="bundle", outcome="done") >= 1
    assert value(api["trainyard_http_requests"], method="POST", route="/ml/train", status="202") >= 1
    assert value(api["trainyard_http_request_seconds"], route="/ml/status/{task_id}") >= 1
    for service in metrics.values():
        for kind in JobKind:  # everybody knows how much there is to do, whoever does it
            assert value(service["trainyard_queue_depth"], kind=kind) >= 0
            assert any(s.labels == {"kind": kind} for s in service["trainyard_queue_oldest_seconds"].samples)
        assert value(service["trainyard_store_seconds"], outcome="ok") >= 1
        assert value(service["trainyard_db_connections"], state="open") >= 1


def test_no_label_grows_with_what_people_do(
    stack: Stack, metrics: dict[str, dict[str, Metric]], zipped: str
) -> None:
    paths = set(httpx.get(f"{stack.url}/schema/openapi.json").json()["paths"])
    models = {slug for kind in MODELS.values() for slug in kind}
    for name, families in metrics.items():
        samples = [s for family in families.values() for s in family.samples]
        assert len(samples) < 4000
        for sample in samples:
            assert sample.labels.keys() <= LABELS, (name, sample)
            assert not any(AN_ID.search(text) for text in sample.labels.values()), (name, sample)
            if "model_name" in sample.labels:
                assert sample.labels["model_name"] in models
            if "kind" in sample.labels:
                assert sample.labels["kind"] in set(JobKind)
    routes = {s.labels["route"] for s in metrics["api"]["trainyard_http_requests"].samples}
    unknown = {route for route in routes - paths if not route.startswith(("/schema", "/assets"))}
    assert unknown <= {"none", "/"}, unknown


# --- what watches them ------------------------------------------------------------------------------


def asked(dashboard: Dashboard) -> list[str]:
    return [query.expr for row in dashboard.rows for panel in row.panels for query in panel.queries]


def test_prometheus_is_told_in_which_format_it_is_answered(stack: Stack, zipped: str) -> None:
    ports = json.loads((stack.directory / "ports.json").read_text())
    for name in ("api", "trainer", "packager"):
        answer = httpx.get(f"http://127.0.0.1:{ports[name]}/metrics")
        # Prometheus 3 takes no answer whose type it cannot read, as one that says its charset twice
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_dashboards_and_alerts_find_what_they_ask_for(metrics: dict[str, dict[str, Metric]]) -> None:
    """Every series that they select is shown by some service, once a run has ended."""
    there: dict[str, list[dict[str, str]]] = {}
    for job, families in metrics.items():
        for sample in (sample for family in families.values() for sample in family.samples):
            there.setdefault(sample.name, []).append(sample.labels | {"job": job, "instance": "here"})
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    for query in (*rules, *(expr for dashboard in DASHBOARDS for expr in asked(dashboard))):
        for selector in promql.selectors(query):
            only_if_it_fails = ("status", "=~", "5..") in selector.matchers
            if selector.name not in known.PROMETHEUS_OWN and not only_if_it_fails:
                assert any(map(selector.selects, there.get(selector.name, []))), selector


def test_prometheus_has_an_answer_for_every_panel(watcher: Prometheus | None, zipped: str) -> None:
    """A real one, that has watched the run from its beginning, and has alerted nobody meanwhile. Where there
    is none, the test above is what can be said, and here that the queries are PromQL."""
    queries = [query for dashboard in DASHBOARDS for query in asked(dashboard)]
    if watcher is None:
        assert all(promql.selectors(query) for query in queries)
        return
    watcher.caught_up()
    for query in queries:
        found = watcher.instant(promql.plain(query, rate_interval="1h", range="1h"))
        assert any(not math.isnan(float(series["value"][1])) for series in found), query
    # what keeps fits in, and how full its disk is, are the machine's matter
    assert set(watcher.alerts()) <= {"SandboxIncomplete", "DiskFillsUp"}
