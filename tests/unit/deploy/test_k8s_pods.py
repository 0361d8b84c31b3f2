"""Pods of deploy/k8s against compose, the images and the code: what one of them promises, the others keep."""

from __future__ import annotations

import re

import msgspec
import pytest

from deploy.env import PROJECT
from services.api.__main__ import GRACE_S
from services.api.routes.system import get_liveness, get_metrics, get_readiness
from services.trainer.child_memory import LEAST_BYTES
from shared import settings
from shared.settings import Secret, Settings, load
from tests.unit.deploy.cluster import (
    COMPOSE,
    RENDERED,
    SERVICES,
    containers,
    labels,
    main_container,
    objects,
    of_kind,
    pod,
    quantity,
    secrets_of,
    selects,
    settings_of,
    workload,
)

EVERY = (*SERVICES, "migrate")
HANDED_OVER_S = 30
"""What a worker is given beyond its drain: to hand over what is left, and to end its children."""
AT_HOME = {"S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL"}
"""Where compose's own store is; an overlay says where another one is."""


def structs() -> list[type[Settings]]:
    return Settings.__subclasses__()


def secret_names() -> set[str]:
    return {f.encode_name for kind in structs() for f in msgspec.structs.fields(kind) if f.type is Secret}


# --- rights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", EVERY)
def test_a_pod_keeps_to_the_strictest_standard(component: str) -> None:
    """`restricted` of Kubernetes's Pod Security Standards, as the namespace enforces it; a read-only root."""
    spec = pod(component)
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["serviceAccountName"] in of_kind("ServiceAccount")
    whole = spec["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"{whole['runAsUser']}:{whole['runAsGroup']}" == COMPOSE[component]["user"]
    assert {kind for volume in spec["volumes"] for kind in volume} == {"name", "emptyDir"}
    for container in containers(component):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in container.get("ports", []))


def test_the_namespace_enforces_it() -> None:
    [namespace] = of_kind("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("component", EVERY)
def test_its_image_is_the_one_that_compose_builds(component: str) -> None:
    assert {container["image"] for container in containers(component)} == {COMPOSE[component]["image"]}


@pytest.mark.parametrize("component", EVERY)
def test_an_overlay_says_which_version(component: str) -> None:
    for container in containers(component, "overlays/example"):
        assert re.fullmatch(r"registry\.example\.org/trainyard/\w+:[\w.]+", container["image"])


# --- what it is told ------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", RENDERED)
@pytest.mark.parametrize("component", EVERY)
def test_it_is_told_nothing_that_compose_does_not_know(component: str, folder: str) -> None:
    known = COMPOSE[component]["environment"].keys()
    container = main_container(component, folder)
    assert settings_of(container, folder).keys() | secrets_of(container).keys() <= known


@pytest.mark.parametrize("component", EVERY)
def test_it_has_the_secrets_that_compose_gives_it_and_none_besides(component: str) -> None:
    names = COMPOSE[component]["environment"].keys() & secret_names()
    given = secrets_of(main_container(component))
    if component == "migrate":
        names -= {"OTEL_EXPORTER_OTLP_HEADERS"}  # it sends no traces
    assert given.keys() == names
    assert all(reference["key"] == name for name, reference in given.items())
    assert ("DATABASE_URL" in given) == (component == "migrate")


@pytest.mark.parametrize("component", SERVICES)
def test_it_waits_for_its_migrations_with_its_own_login(component: str) -> None:
    [before] = pod(component)["initContainers"]
    assert before["command"] == ["python", "-m", "shared.db.migrated"]
    [(name, reference)] = secrets_of(before).items()
    assert reference == secrets_of(main_container(component))[name]
    assert name in {"API_DATABASE_URL", "WORKER_DATABASE_URL"}


@pytest.mark.parametrize("folder", RENDERED)
def test_no_secret_is_told_in_the_open(folder: str) -> None:
    told = {name for one in of_kind("ConfigMap", folder).values() for name in one["data"]}
    assert told.isdisjoint(secret_names())
    assert not of_kind("Secret", folder)


@pytest.mark.parametrize("folder", RENDERED)
@pytest.mark.parametrize("component", SERVICES)
def test_what_it_is_told_can_be_read(component: str, folder: str) -> None:
    told = settings_of(main_container(component, folder), folder)
    for kind in structs():
        load(kind, told)
    if folder != "base":
        assert told.keys() >= AT_HOME


def test_migrating_is_the_command_of_compose() -> None:
    assert main_container("migrate")["command"] == COMPOSE["migrate"]["command"]


# --- where it answers, and when it ends -----------------------------------------------------------


@pytest.mark.parametrize("component", SERVICES)
def test_probes_ask_what_the_service_answers(component: str) -> None:
    container = main_container(component)
    told = settings_of(container)
    [port] = container["ports"]
    assert told["HOST" if component == "api" else "METRICS_HOST"] == "0.0.0.0"
    variable = "PORT" if component == "api" else "METRICS_PORT"
    assert str(port["containerPort"]) == told[variable] == COMPOSE[component]["environment"][variable]
    if component == "api":
        live, ready, metrics = (next(iter(h.paths)) for h in (get_liveness, get_readiness, get_metrics))
    else:
        served = re.findall(r'add_get\("([^"]+)"', (PROJECT / "shared" / "metrics.py").read_text())
        live, ready, metrics = "/health/live", "/health/ready", "/metrics"
        assert {live, ready, metrics} == set(served)
    assert container["livenessProbe"]["httpGet"] == {"path": live, "port": port["name"]}
    assert container["startupProbe"]["httpGet"] == {"path": live, "port": port["name"]}
    assert container["readinessProbe"]["httpGet"] == {"path": ready, "port": port["name"]}
    scraped = workload(component)["spec"]["template"]["metadata"]["annotations"]
    assert (scraped["prometheus.io/path"], scraped["prometheus.io/port"]) == (metrics, told[variable])


@pytest.mark.parametrize("component", SERVICES)
def test_it_is_given_as_long_to_begin_as_in_compose(component: str) -> None:
    probe = main_container(component)["startupProbe"]
    start_s = float(COMPOSE[component]["healthcheck"]["start_period"].removesuffix("s"))
    assert probe["periodSeconds"] * probe["failureThreshold"] >= min(start_s, 120)


@pytest.mark.parametrize("component", ["trainer", "packager"])
def test_a_worker_is_killed_only_after_it_has_drained(component: str) -> None:
    worker = load(settings.Worker, settings_of(main_container(component)))
    assert pod(component)["terminationGracePeriodSeconds"] >= worker.drain_s + HANDED_OVER_S


def test_the_api_is_killed_only_after_its_requests_have_ended() -> None:
    [wait] = [int(word) for word in main_container("api")["lifecycle"]["preStop"]["exec"]["command"][1:]]
    assert pod("api")["terminationGracePeriodSeconds"] > wait + GRACE_S


@pytest.mark.parametrize("component", SERVICES)
def test_a_new_one_is_there_before_an_old_one_goes(component: str) -> None:
    spec = workload(component)["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in spec, "applying it again would undo what an autoscaler did"
    assert selects(spec["selector"], labels(component))
    for constraint in pod(component)["topologySpreadConstraints"]:
        assert selects(constraint["labelSelector"], labels(component))


@pytest.mark.parametrize("component", SERVICES)
def test_a_node_can_be_emptied_without_the_service(component: str) -> None:
    budget = of_kind("PodDisruptionBudget")[f"trainyard-{component}"]["spec"]
    assert [c for c in EVERY if selects(budget["selector"], labels(c))] == [component]
    if component == "api":
        scaled = of_kind("HorizontalPodAutoscaler")["trainyard-api"]["spec"]
        assert budget["minAvailable"] < scaled["minReplicas"]
    else:
        assert budget["maxUnavailable"] >= 1, "one that is alone may go too"


# --- what it takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("component", ["api", "packager"])
def test_it_may_take_what_it_may_in_compose(component: str) -> None:
    limits = main_container(component)["resources"]["limits"]
    assert limits["memory"].lower() == COMPOSE[component]["mem_limit"] + "i"
    [volume] = pod(component)["volumes"]
    [mount] = main_container(component)["volumeMounts"]
    size = re.search(r"^(/tmp):size=(\d+)m", COMPOSE[component]["tmpfs"][0])
    assert size is not None
    assert (mount["mountPath"], volume["emptyDir"]["sizeLimit"]) == (size[1], f"{size[2]}Mi")


def test_a_trainer_has_a_core_for_each_thread_and_memory_for_each_fit() -> None:
    container = main_container("trainer")
    told = load(settings.Trainer, settings_of(container))
    asked = container["resources"]
    assert quantity(asked["requests"]["cpu"]) == told.trainer_slots * told.trainer_threads
    assert asked["requests"]["memory"] == asked["limits"]["memory"], (
        "or the kernel kills where a node is full"
    )
    assert quantity(asked["limits"]["memory"]) * 0.75 / told.trainer_slots >= 4 * LEAST_BYTES
    assert told.trainer_sandbox == "require"


def test_what_a_trainer_writes_fits_where_it_is_written() -> None:
    """A disk that is shared does not tell how much of it is a pod's, and a pod that takes more is evicted."""
    container = main_container("trainer")
    told = settings_of(container)
    trainer, tables, api = (load(k, told) for k in (settings.Trainer, settings.Tables, settings.Api))
    sizes = {v["name"]: quantity(v["emptyDir"]["sizeLimit"]) for v in pod("trainer")["volumes"]}
    mounted = {mount["mountPath"]: sizes[mount["name"]] for mount in container["volumeMounts"]}
    assert (
        mounted.keys() == {"/scratch", "/cache"} == {v.split(":")[-1] for v in COMPOSE["trainer"]["volumes"]}
    )
    a_slot = api.max_upload_bytes + trainer.trainer_scratch_bytes
    assert trainer.trainer_cache_bytes + trainer.trainer_slots * a_slot <= mounted["/cache"]
    assert 2 * tables.table_max_bytes <= trainer.trainer_scratch_bytes, "as text, and again as columns"
    asked = container["resources"]
    assert sum(mounted.values()) == quantity(asked["requests"]["ephemeral-storage"])
    assert quantity(asked["requests"]["ephemeral-storage"]) <= quantity(asked["limits"]["ephemeral-storage"])


@pytest.mark.parametrize("folder", RENDERED)
def test_everything_is_in_one_namespace_and_named_after_the_product(folder: str) -> None:
    for one in objects(folder):
        meta = one["metadata"]
        assert meta["name"].startswith("trainyard")
        assert one["kind"] == "Namespace" or meta["namespace"] == "trainyard"
