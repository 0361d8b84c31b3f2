"""The check of deploy/k8s finds what is wrong, and that nothing is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import manifests
from deploy.env import PROJECT
from tests.unit.deploy.cluster import of_kind

Change = Callable[[dict[str, Any]], None]


def misspell(container: dict[str, Any]) -> None:
    container["readynessProbe"] = container.pop("readinessProbe")


def a_number(container: dict[str, Any]) -> None:
    container["livenessProbe"]["periodSeconds"] = "10"


def no_name(container: dict[str, Any]) -> None:
    del container["name"]


@pytest.mark.parametrize(
    ("change", "said"), [(misspell, "readynessProbe"), (a_number, "is not of type"), (no_name, "'name'")]
)
@pytest.mark.parametrize("version", manifests.VERSIONS)
def test_a_field_that_kubernetes_does_not_know_or_misses(version: str, change: Change, said: str) -> None:
    found = copy.deepcopy(of_kind("Deployment")["trainyard-api"])
    assert manifests.faults(found, version) == []
    change(found["spec"]["template"]["spec"]["containers"][0])
    [fault] = manifests.faults(found, version)
    assert said in fault
    assert "Deployment trainyard-api" in fault


def test_a_kind_that_nobody_knows() -> None:
    made_up = {"apiVersion": "apps/v1", "kind": "Deploymint", "metadata": {"name": "x"}}
    [fault] = manifests.faults(made_up, manifests.VERSIONS[0])
    assert "Deploymint" in fault


def test_a_field_that_keda_does_not_know_or_misses() -> None:
    found = copy.deepcopy(of_kind("ScaledObject", "overlays/example")["trainyard-trainer"])
    version = manifests.VERSIONS[0]
    assert manifests.faults(found, version) == []
    found["spec"]["minReplicas"] = found["spec"].pop("minReplicaCount")
    [trigger, _] = found["spec"]["triggers"]
    trigger["metadata"]["targetQueryValue"] = 2
    trigger.pop("type")
    said = manifests.faults(found, version)
    assert len(said) == 3, said
    for word in ("minReplicas", "targetQueryValue", "'type'"):
        assert any(word in fault for fault in said), word


def test_what_kustomize_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "PROJECT", tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    with pytest.raises(manifests.NotRendered, match=r"nothing\.yaml"):
        manifests.rendered(tmp_path)


def test_every_overlay_is_looked_at() -> None:
    found = {path.parent for path in (PROJECT / "deploy" / "k8s").rglob("kustomization.yaml")}
    components = {path for path in found if path.parent.name == "components"}
    assert set(manifests.kustomizations()) == found - components
