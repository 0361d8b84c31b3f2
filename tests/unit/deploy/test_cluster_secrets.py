"""Secrets for a cluster: what the manifests refer to, out of what `make env` writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import cluster_secrets
from deploy.env import EXAMPLE, PROJECT, filled
from tests.unit.deploy.cluster import SERVICES, containers, secrets_of

README = (PROJECT / "deploy" / "k8s" / "README.md").read_text()


def test_they_are_what_the_manifests_refer_to() -> None:
    referred: dict[str, set[str]] = {}
    needed = set()
    for component in (*SERVICES, "migrate"):
        for container in containers(component):
            for reference in secrets_of(container).values():
                referred.setdefault(reference["name"], set()).add(reference["key"])
                if not reference.get("optional"):
                    needed.add(reference["key"])
    assert referred == {name: set(keys) for name, keys in cluster_secrets.SECRETS.items()}
    assert needed == {key for keys in referred.values() for key in keys} - cluster_secrets.OPTIONAL.keys()


def test_the_readme_lists_them() -> None:
    rows = re.findall(r"(?m)^\| `(trainyard-[\w-]+)` \| ([^|]+) \|", README)
    listed = {name: tuple(re.findall(r"`(\w+)`", keys)) for name, keys in rows}
    assert listed == cluster_secrets.SECRETS


def test_what_make_env_writes_will_do(tmp_path: Path) -> None:
    variables = tmp_path / ".env"
    variables.write_text(filled(EXAMPLE.read_text()))
    done = subprocess.run(
        [sys.executable, "-I", cluster_secrets.__file__, str(variables)],
        capture_output=True,
        text=True,
        check=True,
    )
    items = json.loads(done.stdout)["items"]
    made = {item["metadata"]["name"]: item["stringData"] for item in items}
    left_out = {"trainyard-database-scaler", "trainyard-tracing"}
    assert made.keys() == cluster_secrets.SECRETS.keys() - left_out
    url = made["trainyard-database-owner"]["DATABASE_URL"]
    assert re.fullmatch(r"postgresql://postgres:[0-9a-f]{64}@postgres:5432/postgres", url)
    assert "SCALER_DATABASE_URL is empty: KEDA cannot ask" in done.stderr
    assert not re.search(r"[0-9a-f]{64}", done.stderr)


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variables = tmp_path / ".env"
    variables.write_text("REDIS_URL=redis://x\n")
    assert cluster_secrets.main(variables) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "ARTIFACT_HMAC_KEYS" in said.err
    assert "REDIS_URL" not in said.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("X=a b ", "a b"),
        ('X="a # b"', "a # b"),
        ("A=1\nX=${A}${B}-", "1-"),
        ('A=1\nX="${A}"', "1"),
        ("A=1\nX='${A}'", "${A}"),
        ("export X=1", "1"),
        ("X=1\nX=2", "2"),
        ("X=base64==", "base64=="),
    ],
)
def test_lines_are_read_as_compose_reads_them(text: str, value: str) -> None:
    assert cluster_secrets.variables(text)["X"] == value
