"""What images and compose promise: no rights, nothing writable, no secret in a layer, nothing published."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from deploy.env import PROJECT

COMPOSE = PROJECT / "docker-compose.yml"
EMBEDDED = PROJECT / "deploy" / "compose.embedded-s3.yml"
DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text()
OURS = {"migrate", "api", "trainer", "packager"}
ENTRY_POINT = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
"""What a server's image needs to become the user it runs as."""


class Loader(yaml.SafeLoader):
    """With compose's own tag, which takes away what another file says."""


Loader.add_constructor("!reset", lambda _loader, _node: None)


def services(name: str) -> dict[str, Any]:
    found = yaml.load((PROJECT / name).read_text(), Loader)  # noqa: S506 - SafeLoader with one tag more
    return dict(found["services"])


SERVICES = services("docker-compose.yml")


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_to_speak_of(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 4096
    assert not {"privileged", "devices", "network_mode", "pid", "ipc", "userns_mode"} & service.keys()
    if name in OURS:
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert "cap_add" not in service
        assert all("noexec" in mount and "nosuid" in mount for mount in service["tmpfs"])
    else:
        assert set(service["cap_add"]) <= ENTRY_POINT
    assert name == "migrate" or "healthcheck" in service


def test_only_the_api_and_the_store_are_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"api", "s3"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    outside = {name for name, service in SERVICES.items() if "edge" in service["networks"]}
    assert outside == {"api", "s3"}
    assert all("data" in service["networks"] for service in SERVICES.values())
    assert yaml.load(COMPOSE.read_text(), Loader)["networks"]["data"] == {"internal": True}  # noqa: S506


def test_every_password_comes_from_outside() -> None:
    for text in (COMPOSE.read_text(), EMBEDDED.read_text()):
        for name in re.findall(r"\$\{(\w+):-[^}]+\}", text):
            assert not re.search(r"PASSWORD|SECRET|KEY", name), name
        for line in text.splitlines():
            if re.match(r"\s+\w*(PASSWORD|SECRET|ACCESS_KEY|HMAC_KEYS|DATABASE_URL|REDIS_URL)\w*: ", line):
                assert "${" in line, line


def test_only_the_one_that_migrates_knows_the_owners_login() -> None:
    for name, service in SERVICES.items():
        known = {"DATABASE_URL", "POSTGRES_PASSWORD"} & service.get("environment", {}).keys()
        assert bool(known) == (name in {"migrate", "postgres"}), name


def stages() -> dict[str, str]:
    parts = re.split(r"(?m)^FROM ", DOCKERFILE)[1:]
    return {part.split()[2]: part for part in parts}


@pytest.mark.parametrize("target", ["api", "dashboard", "trainer", "packager", "s3"])
def test_an_image_runs_as_a_user_without_rights(target: str) -> None:
    stage = stages()[target]
    assert re.findall(r"(?m)^USER (.*)$", stage) == ["10001:10001"]
    assert stage.index("USER ") > max(m.start() for m in re.finditer(r"(?m)^(?:COPY|RUN) ", stage))
    assert "--chown" not in stage  # its code belongs to root: it cannot change itself


def test_no_secret_gets_into_a_layer() -> None:
    """What is copied is named, and so is what the build may see at all."""
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    seen = {"!deploy/image-packages.sh", "!requirements", "!shared", "!services"}
    assert {line for line in ignored if line.startswith("!")} == seen
    copied = re.findall(r"(?m)^(?:COPY|ADD) (?!--from=)(\S+)", DOCKERFILE)
    known = r"(?:requirements/\w+\.txt|deploy/image-packages\.sh|shared|services/\w+(?:\.py)?)$"
    assert all(re.match(known, what) for what in copied)
    assert not re.search(r"(?m)^(?:ARG|ENV) .*(?:PASSWORD|SECRET|TOKEN|KEY|_URL)", DOCKERFILE)
    for folder in ("requirements", "shared", "services"):
        found = [
            p
            for p in (PROJECT / folder).rglob("*")
            if p.name.startswith(".env") or p.suffix in (".pem", ".key")
        ]
        assert found == []


def test_the_embedded_store_has_fewer_rights_still() -> None:
    stand_in = services("deploy/compose.embedded-s3.yml")["s3"]
    assert stand_in["read_only"] is True
    assert stand_in["cap_add"] is None
