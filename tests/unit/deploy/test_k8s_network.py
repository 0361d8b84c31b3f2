"""Who reaches whom in the cluster: what is needed, and nobody else."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.unit.deploy.cluster import (
    COMPOSE,
    RENDERED,
    labels,
    main_container,
    of_kind,
    selects,
    settings_of,
)

EVERY = ("api", "trainer", "packager", "migrate")
SERVERS = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "s3": "S3_ENDPOINT_URL"}


def rules(component: str, way: str, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the policy, rule) of every policy that takes the component's pods, `Egress` or `Ingress`."""
    for name, policy in of_kind("NetworkPolicy", folder).items():
        spec = policy["spec"]
        if way in spec["policyTypes"] and selects(spec["podSelector"], labels(component, folder)):
            yield from ((name, rule) for rule in spec.get(way.lower(), []))


def reached(component: str, folder: str) -> dict[str, list[dict[str, Any]]]:
    """Policy → peers that it lets a component reach."""
    return {name: rule["to"] for name, rule in rules(component, "Egress", folder)}


def needs(component: str) -> set[str]:
    """Servers whose addresses compose tells it."""
    addresses = [str(value) for value in COMPOSE[component]["environment"].values()]
    return {server for server in SERVERS if any(f"{server}:" in address for address in addresses)}


@pytest.mark.parametrize("folder", RENDERED)
def test_nothing_is_open_that_is_not_opened(folder: str) -> None:
    closed = of_kind("NetworkPolicy", folder)["trainyard-default-deny"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in of_kind("NetworkPolicy", folder).values():
        for rule in policy["spec"].get("egress", []):
            assert rule["to"], "no peer is every peer"
            assert rule["ports"]
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"]
            assert rule["ports"]


@pytest.mark.parametrize("component", EVERY)
def test_a_service_reaches_the_servers_that_compose_tells_it_of(component: str) -> None:
    opened = reached(component, "base")
    assert "trainyard-dns" in opened
    peers = [
        peer["podSelector"]["matchLabels"] for to in opened.values() for peer in to if "podSelector" in peer
    ]
    assert {peer["app.kubernetes.io/component"] for peer in peers} == needs(component)
    assert len(opened) == len(needs(component)) + 1


@pytest.mark.parametrize("component", ["trainer", "packager", "migrate"])
@pytest.mark.parametrize("folder", RENDERED)
def test_what_opens_tables_and_models_reaches_no_stranger(component: str, folder: str) -> None:
    for name, peers in reached(component, folder).items():
        for peer in peers:
            if "ipBlock" in peer:
                network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
                assert network.is_private or network.is_link_local, name
                assert network.prefixlen >= 16, name


def test_the_api_alone_asks_the_identity_provider_and_nothing_of_ones_own() -> None:
    opened = {c: reached(c, "overlays/example").keys() for c in EVERY}
    assert [c for c, names in opened.items() if "trainyard-to-identity-provider" in names] == ["api"]
    [peer] = reached("api", "overlays/example")["trainyard-to-identity-provider"]
    left_out = [ipaddress.ip_network(network) for network in peer["ipBlock"]["except"]]
    for address in ("10.20.1.1", "172.20.0.1", "192.168.1.1", "169.254.169.254"):
        assert any(ipaddress.ip_address(address) in network for network in left_out)


def test_ports_are_those_of_the_servers() -> None:
    opened = {name: rule["ports"] for name, rule in rules("api", "Egress", "base")}
    found = {name: {port["port"] for port in ports} for name, ports in opened.items()}
    environment = {name: str(value) for name, value in COMPOSE["api"]["environment"].items()}
    for policy, variable in {
        "trainyard-to-postgres": "API_DATABASE_URL",
        "trainyard-to-redis": "REDIS_URL",
        "trainyard-to-store": "S3_ENDPOINT_URL",
    }.items():
        assert f":{next(iter(found[policy]))}" in environment[variable]
    told = settings_of(main_container("api", "overlays/example"), "overlays/example")
    store = dict(rules("api", "Egress", "overlays/example"))["trainyard-to-store"]["ports"]
    assert [port["port"] for port in store] == [urlsplit(told["S3_ENDPOINT_URL"]).port or 443]


@pytest.mark.parametrize("folder", RENDERED)
def test_the_proxy_reaches_the_api_alone_and_monitoring_the_metrics(folder: str) -> None:
    for component in EVERY:
        opened = dict(rules(component, "Ingress", folder))
        expected = {
            "api": {"trainyard-from-proxy", "trainyard-from-monitoring"},
            "migrate": set(),
        }.get(component, {"trainyard-from-monitoring"})
        assert opened.keys() == expected
        if component == "migrate":
            continue
        [port] = main_container(component, folder)["ports"]
        names = {p["port"] for p in opened["trainyard-from-monitoring"]["ports"]}
        assert port["name"] in names


def test_the_proxy_hands_out_no_metrics() -> None:
    [ingress] = of_kind("Ingress", "overlays/example").values()
    [rule] = ingress["spec"]["rules"]
    backends = {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}
    services = of_kind("Service", "overlays/example")
    assert "selector" not in services[backends["/metrics"]]["spec"]
    api = services[backends["/"]]["spec"]
    assert selects({"matchLabels": api["selector"]}, labels("api"))
    assert api["ports"][0]["targetPort"] == main_container("api")["ports"][0]["name"]
