"""deploy/compose.dask.yml: trainers with a cluster, whose parts know no secret and reach nothing else."""

from __future__ import annotations

import re
from typing import Any

import yaml

from deploy.env import PROJECT
from services.trainer import cluster
from shared.settings import Cluster, secret_names

OVERLAY = yaml.safe_load((PROJECT / "deploy" / "compose.dask.yml").read_text())
BASE = (PROJECT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = OVERLAY["services"]
PARTS = ("dask-scheduler", "dask-worker")


def test_programs_of_fits_find_no_secret_and_no_other_service() -> None:
    for name in PARTS:
        service = SERVICES[name]
        assert service["networks"] == ["cluster"]
        assert not {"environment", "env_file", "ports", "secrets"} & service.keys()
    assert OVERLAY["networks"]["cluster"] == {"internal": True}
    on_it = {name for name, service in SERVICES.items() if "cluster" in service["networks"]}
    assert on_it == {*PARTS, "trainer", "s3"}
    text = (PROJECT / "deploy" / "compose.dask.yml").read_text()
    assert not any(re.search(rf"\b{secret}\b", text) for secret in secret_names())


def test_they_have_no_rights() -> None:
    for name in PARTS:
        service = SERVICES[name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "healthcheck" in service


def test_all_run_one_image_and_the_trainer_is_told_where_the_scheduler_is() -> None:
    assert {SERVICES[name]["image"] for name in (*PARTS, "trainer")} == {"trainyard/dask"}
    assert {SERVICES[name]["build"]["target"] for name in (*PARTS, "trainer")} == {"dask"}
    told = SERVICES["trainer"]["environment"]
    settings = Cluster(
        trainer_joblib_backend=told["TRAINER_JOBLIB_BACKEND"], dask_scheduler=told["DASK_SCHEDULER"]
    )
    where = cluster.configured(settings)
    assert where is not None and where.host == "dask-scheduler"
    assert str(where.port) in SERVICES["dask-scheduler"]["command"]
    worker = SERVICES["dask-worker"]["command"]
    assert where.address in worker
    assert worker[worker.index("--nthreads") + 1] == "1"
    assert worker[worker.index("--preload") + 1] == "services.trainer.cluster_worker"


def test_the_networks_that_it_adds_to_are_those_of_the_base() -> None:
    base = yaml.safe_load(BASE)
    for name in ("trainer", "s3"):
        own = base["services"][name].get("networks") or ["data"]
        assert set(own) <= set(SERVICES[name]["networks"])


def test_the_image_is_the_trainers_with_another_lock() -> None:
    dockerfile = (PROJECT / "deploy" / "Dockerfile").read_text()
    stages = {part.split()[2]: part for part in re.split(r"(?m)^FROM ", dockerfile)[1:]}
    steps = [
        [
            line.replace("dask-packages", "trainer-packages")
            for line in stages[name].splitlines()
            if "COPY" in line
        ]
        for name in ("dask", "trainer")
    ]
    assert steps[0] == steps[1]
    assert re.findall(r"(?m)^USER (.*)$", stages["dask"]) == ["10001:10001"]
    assert "requirements/dask.txt" in stages["dask-packages"]
