"""What deploy/k8s renders to, for the tests that compare it with the code and with compose."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from deploy.env import PROJECT
from deploy.manifests import FOLDER, rendered

Object = dict[str, Any]

SERVICES = ("api", "trainer", "packager")
RENDERED = ("base", "overlays/example")
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
_UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}


@functools.cache
def objects(folder: str = "base") -> tuple[Object, ...]:
    return tuple(rendered(FOLDER / folder))


def of_kind(kind: str, folder: str = "base") -> dict[str, Object]:
    """Name → object."""
    return {one["metadata"]["name"]: one for one in objects(folder) if one["kind"] == kind}


def workload(component: str, folder: str = "base") -> Object:
    """A service's Deployment, or the Job that migrates."""
    return of_kind("Job" if component == "migrate" else "Deployment", folder)[f"trainyard-{component}"]


def pod(component: str, folder: str = "base") -> Object:
    spec: Object = workload(component, folder)["spec"]["template"]["spec"]
    return spec


def labels(component: str, folder: str = "base") -> dict[str, str]:
    return dict(workload(component, folder)["spec"]["template"]["metadata"]["labels"])


def containers(component: str, folder: str = "base") -> Iterator[Object]:
    spec = pod(component, folder)
    yield from spec["containers"]
    yield from spec.get("initContainers", [])


def main_container(component: str, folder: str = "base") -> Object:
    [found] = pod(component, folder)["containers"]
    return dict(found)


def settings_of(container: Object, folder: str = "base") -> dict[str, str]:
    """What it is told in the open."""
    maps = of_kind("ConfigMap", folder)
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found


def secrets_of(container: Object) -> dict[str, Mapping[str, Any]]:
    """Variable → the `secretKeyRef` that it comes from."""
    return {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}


def selects(selector: Object, its: Mapping[str, str]) -> bool:
    """Whether a label selector takes a pod of these labels."""
    every = selector.get("matchLabels", {}).items() <= its.items()
    for term in selector.get("matchExpressions", []):
        assert term["operator"] == "In"
        every = every and its.get(term["key"]) in term["values"]
    return every


def quantity(text: str) -> float:
    """Kubernetes's `resource.Quantity`, of the units that are used here."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", text)
    assert match, text
    return float(match[1]) * _UNITS[match[2]]
