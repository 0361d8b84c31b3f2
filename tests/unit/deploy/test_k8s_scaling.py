"""How many workers KEDA asks for, against what one of them does at once and what claims hand out."""

from __future__ import annotations

import re
from typing import Any

import pytest

from services.packager.__main__ import LANES
from shared.queue import PACKAGER_QUEUE, QUEUES, TRAINER_QUEUE
from shared.settings import Trainer, Worker, load
from tests.unit.deploy.cluster import main_container, of_kind, secrets_of, settings_of, workload

EXAMPLE = "overlays/example"
QUERY = re.compile(r"SELECT (\w+) FROM trainyard\.demand\('\{([\w,]+)\}', (\d+)\)")
READ = {"query", "targetQueryValue", "activationTargetQueryValue"}
"""Of KEDA's postgresql scaler (https://keda.sh/docs/2.16/scalers/postgresql/), beside the connection, which
is a secret."""


def scaled(component: str) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind("ScaledObject", EXAMPLE)[f"trainyard-{component}"]["spec"]
    return spec


def triggers(component: str) -> dict[str, tuple[str, list[str], int, float]]:
    """Name → (column, kinds, user cap, target)."""
    found = {}
    for trigger in scaled(component)["triggers"]:
        assert trigger["type"] == "postgresql"
        metadata = trigger["metadata"]
        assert metadata.keys() <= READ
        match = QUERY.fullmatch(metadata["query"])
        assert match, metadata["query"]
        found[trigger["name"]] = (
            match[1],
            match[2].split(","),
            int(match[3]),
            float(metadata["targetQueryValue"]),
        )
    return found


@pytest.mark.parametrize(("component", "queue"), [("trainer", TRAINER_QUEUE), ("packager", PACKAGER_QUEUE)])
def test_work_of_its_queue_is_what_counts_by_depth_and_by_age(component: str, queue: str) -> None:
    kinds = sorted(str(kind) for kind, its in QUEUES.items() if its == queue)
    cap = load(Worker, settings_of(main_container(component, EXAMPLE), EXAMPLE)).user_cap
    asked = triggers(component)
    assert {name: column for name, (column, *_) in asked.items()} == {"work": "work", "oldest": "oldest_s"}
    for _, its, its_cap, target in asked.values():
        assert (its, its_cap) == (kinds, cap)
        assert target > 0


def test_a_trainer_is_added_for_as_much_as_one_does_at_once() -> None:
    told = load(Trainer, settings_of(main_container("trainer", EXAMPLE), EXAMPLE))
    assert triggers("trainer")["work"][3] == told.trainer_slots
    assert triggers("packager")["work"][3] == LANES


def test_one_user_may_use_all_of_the_largest_fleet() -> None:
    cap = triggers("trainer")["work"][2]
    assert scaled("trainer")["maxReplicaCount"] * triggers("trainer")["work"][3] <= cap


@pytest.mark.parametrize("component", ["trainer", "packager"])
def test_what_is_scaled_is_there_and_goes_slowly(component: str) -> None:
    spec = scaled(component)
    assert spec["scaleTargetRef"]["name"] == workload(component, EXAMPLE)["metadata"]["name"]
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300
    assert all(policy["value"] <= 25 for policy in down["policies"])


def test_two_never_decide_about_the_same() -> None:
    named = [
        one["spec"]["scaleTargetRef"]["name"]
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for one in of_kind(kind, EXAMPLE).values()
    ]
    assert len(named) == len(set(named)) == 3


def test_it_asks_with_the_login_that_migrating_makes() -> None:
    [authentication] = of_kind("TriggerAuthentication", EXAMPLE).values()
    [reference] = authentication["spec"]["secretTargetRef"]
    assert reference["parameter"] == "connection"
    made = secrets_of(main_container("migrate", EXAMPLE))["SCALER_DATABASE_URL"]
    assert (reference["name"], reference["key"]) == (made["name"], made["key"])
    for component in ("trainer", "packager"):
        references = [trigger["authenticationRef"]["name"] for trigger in scaled(component)["triggers"]]
        assert set(references) == {authentication["metadata"]["name"]}
