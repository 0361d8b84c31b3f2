"""The metrics that our processes have, as their code declares them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from prometheus_client import REGISTRY

from services.trainer.step_record import ENDS
from shared.contracts.catalogue import MODELS
from shared.contracts.states import JobKind
from shared.metrics import OUTCOMES
from tests.monitoring import promql

PROMETHEUS_OWN = {"up": ("job", "instance"), "ALERTS": ("alertname", "alertstate", "severity")}
TARGET = {"job", "instance"}
"""Labels that every series gets where it is scraped."""
SUFFIXES = ("_total", "_bucket", "_sum", "_count")
STORE_ENDS = ("ok", "refused", "error", "cut_short")
STATES = ("open", "idle", "limit")


class Declared(NamedTuple):
    """`name` without what its samples' names end in."""

    name: str
    type: str
    labels: tuple[str, ...]


def declared() -> dict[str, Declared]:
    """Of all services, by the name of a metric."""
    for module in ("services.api.observe", "shared.metrics"):
        importlib.import_module(module)
    collectors: Any = REGISTRY._collector_to_names
    return {
        one._name: Declared(one._name, one._type, one._labelnames)
        for one in collectors
        if getattr(one, "_name", "").startswith("trainyard_")
    }


def sample_names() -> set[str]:
    """Every name that a sample of ours may have."""
    declared()
    return {name for names in REGISTRY._collector_to_names.values() for name in names}


def faults(query: str) -> Iterator[str]:
    """What it asks for that there is not: names, labels, values of those whose values are few."""
    ours, names = declared(), sample_names()
    there = set(TARGET)
    for selector in promql.selectors(query):
        metric = bare(selector.name)
        if selector.name in PROMETHEUS_OWN:
            labels = set(PROMETHEUS_OWN[selector.name])
        elif selector.name in names:
            labels = set(ours[metric].labels) if metric in ours else set()
            labels |= {"le"} if selector.name.endswith("_bucket") else set()
        else:
            yield f"there is no {selector.name}"
            continue
        there |= labels
        for label, operator, value in selector.matchers:
            if label not in labels | TARGET:
                yield f"{selector.name} has no label {label}"
            elif operator in ("=~", "!~", "="):
                wanted = set(value.split("|")) if operator != "=" else {value}
                if (known := values(metric, label)) and not wanted <= known:
                    yield f"{selector.name}: {label} is never {' or '.join(sorted(wanted - known))}"
    for label in promql.labels(query) - there:
        yield f"nothing that it asks for has a label {label}"


def bare(name: str) -> str:
    """A metric's name without what its samples' names end in."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def legend_labels(legend: str) -> list[str]:
    """Those that Grafana is to put into the name of a series."""
    return re.findall(r"{{\s*(\w+)\s*}}", legend)


def values(metric: str, label: str) -> set[str]:
    """All that this label of it may say, where they are few; else nothing."""
    if label == "job":
        return {"api", "trainer", "packager"}
    if label == "kind":
        return set(JobKind)
    if label == "model_name":
        return {slug for models in MODELS.values() for slug in models}
    if label == "state":
        return set(STATES)
    if label == "weight":
        return {"heavy", "any"}
    if label == "outcome":
        ends = {"trainyard_store_seconds": STORE_ENDS, "trainyard_steps": ENDS, "trainyard_jobs": OUTCOMES}
        return set(ends.get(metric, ()))
    return set()
