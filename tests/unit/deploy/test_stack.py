from __future__ import annotations

import socket
import stat
from pathlib import Path

import msgspec
import pytest

from deploy import ports
from deploy.embedded import load_credentials
from deploy.processes import ProgramFailed
from deploy.stack import answers_ok, build, choose_ports, make_directory, parts_are_ok
from shared.signing import KeyRing

OWNER = "postgresql://me:secret@db.example:5432/shop?sslmode=require"


def test_everything_is_embedded_by_default(tmp_path: Path) -> None:
    stack = build({"PATH": "/bin"}, tmp_path, None, dev_login=True)
    assert list(stack.servers) == ["postgres", "valkey", "s3"]
    assert list(stack.services) == ["api", "trainer", "packager"]
    assert stack.environ["PATH"] == "/bin"
    assert stack.environ["AUTH_DEV_LOGIN"] == "true"
    assert len(stack.environ["AUTH_JWT_SECRET"]) >= 32
    assert stack.environ["HOST"] == "127.0.0.1"
    assert stack.url == f"http://127.0.0.1:{stack.environ['PORT']}"


def test_secrets_stay_the_same(tmp_path: Path) -> None:
    first, second = (build({}, tmp_path, None, dev_login=True) for _ in range(2))
    assert first.environ == second.environ


def test_only_migrations_know_the_owner(tmp_path: Path) -> None:
    stack = build({}, tmp_path, None, dev_login=True)
    assert "DATABASE_URL" in stack.environ
    assert all("DATABASE_URL" not in service.environ for service in stack.services.values())
    assert all("API_DATABASE_URL" in service.environ for service in stack.services.values())


def test_only_workers_can_sign_and_check_models(tmp_path: Path) -> None:
    services = build({}, tmp_path, None, dev_login=True).services
    KeyRing.parse(services["trainer"].environ["ARTIFACT_HMAC_KEYS"])
    assert (
        services["trainer"].environ["ARTIFACT_HMAC_KEYS"]
        == services["packager"].environ["ARTIFACT_HMAC_KEYS"]
    )
    assert "ARTIFACT_HMAC_KEYS" not in services["api"].environ


def test_a_folder_of_an_earlier_version_gets_keys_and_keeps_the_rest(tmp_path: Path) -> None:
    before = load_credentials(tmp_path)
    kept = msgspec.to_builtins(before)
    del kept["artifact_hmac_keys"]
    (tmp_path / "secrets.json").write_bytes(msgspec.json.encode(kept))
    after = load_credentials(tmp_path)
    assert after.artifact_hmac_keys != before.artifact_hmac_keys
    assert msgspec.to_builtins(after) == kept | {"artifact_hmac_keys": after.artifact_hmac_keys}
    assert load_credentials(tmp_path) == after


def test_keys_in_a_file_are_not_overruled(tmp_path: Path) -> None:
    stack = build({"ARTIFACT_HMAC_KEYS_FILE": "/run/keys"}, tmp_path, None, dev_login=True)
    assert "ARTIFACT_HMAC_KEYS" not in stack.services["trainer"].environ
    assert not any(name.startswith("ARTIFACT_HMAC_KEYS") for name in stack.services["api"].environ)


def test_addresses_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{OWNER}\n")
    stack = build({"DATABASE_URL_FILE": str(tmp_path / "url")}, tmp_path, None, dev_login=True)
    assert list(stack.servers) == ["valkey", "s3"]
    assert stack.environ["DATABASE_URL"] == OWNER
    assert "DATABASE_URL_FILE" not in stack.environ
    with pytest.raises(ProgramFailed, match=r"REDIS_URL_FILE: .*missing cannot be read"):
        build({"REDIS_URL_FILE": str(tmp_path / "missing")}, tmp_path, None, dev_login=True)


def test_each_worker_has_a_metrics_port_of_its_own(tmp_path: Path) -> None:
    services = build({}, tmp_path, None, dev_login=True).services
    numbers = {services[name].environ["METRICS_PORT"] for name in ("trainer", "packager")}
    assert len(numbers) == 2
    assert "METRICS_PORT" not in services["api"].environ


def test_a_postgres_that_is_given_is_used(tmp_path: Path) -> None:
    stack = build({"DATABASE_URL": OWNER}, tmp_path, None, dev_login=True)
    assert list(stack.servers) == ["valkey", "s3"]
    assert stack.environ["DATABASE_URL"] == OWNER
    for name, login in (
        ("API_DATABASE_URL", "trainyard_api_login"),
        ("WORKER_DATABASE_URL", "trainyard_worker_login"),
    ):
        assert stack.environ[name].startswith(f"postgresql://{login}:")
        assert stack.environ[name].endswith("@db.example:5432/shop?sslmode=require")
        assert "secret@" not in stack.environ[name]


def test_logins_that_are_given_are_used(tmp_path: Path) -> None:
    given = {
        "DATABASE_URL": OWNER,
        "API_DATABASE_URL": "postgresql://a@h/d",
        "WORKER_DATABASE_URL": "postgresql://w@h/d",
    }
    stack = build(given, tmp_path, None, dev_login=True)
    assert stack.environ | given == stack.environ


def test_redis_and_store_that_are_given_are_used(tmp_path: Path) -> None:
    given = {
        "REDIS_URL": "redis://cache.example:6379/3",
        "S3_ENDPOINT_URL": "https://s3.example",
        "S3_ACCESS_KEY_ID": "key",
        "S3_SECRET_ACCESS_KEY": "secret",
        "S3_REGION": "eu-west-1",
    }
    stack = build(given, tmp_path, None, dev_login=True)
    assert list(stack.servers) == ["postgres"]
    assert stack.environ | given == stack.environ


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({"API_DATABASE_URL": "postgresql://a@h/d"}, "DATABASE_URL is missing"),
        ({"S3_ENDPOINT_URL": "https://s3.example", "S3_ACCESS_KEY_ID": "key"}, "S3_SECRET_ACCESS_KEY is not"),
    ],
)
def test_half_a_server_is_refused(environ: dict[str, str], missing: str, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=missing):
        build(environ, tmp_path, None, dev_login=True)


def test_the_identity_provider_that_is_given_is_used(tmp_path: Path) -> None:
    environ = {"AUTH_JWKS_URL": "https://id.example/jwks.json"}
    stack = build(environ, tmp_path, None, dev_login=False)
    assert stack.environ["AUTH_DEV_LOGIN"] == "false"
    assert stack.environ["AUTH_JWT_SECRET"] == ""


def test_ports_stay_while_they_are_free(tmp_path: Path) -> None:
    first = choose_ports(tmp_path, None)
    assert len(set(first.values())) == len(first)
    assert choose_ports(tmp_path, None) == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first["postgres"]))
        other.listen()
        second = choose_ports(tmp_path, None)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"postgres"}


def test_a_wanted_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ProgramFailed, match=f"port {port} is taken"):
            choose_ports(tmp_path, port)


def test_a_wanted_port_may_be_what_another_part_had(tmp_path: Path) -> None:
    last = choose_ports(tmp_path, None)
    now = choose_ports(tmp_path, last["s3"])
    assert now["api"] == last["s3"]
    assert len(set(now.values())) == len(now)


def test_a_damaged_note_of_ports_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{oh")
    assert choose_ports(tmp_path, None)


def test_free_ports_are_free_and_different() -> None:
    found = ports.free(20)
    assert len(set(found)) == 20
    assert all(ports.is_free(port) for port in found)


@pytest.mark.parametrize(
    ("body", "ok"),
    [
        (b'{"status": "ok", "postgres": "ok", "redis": "ok", "storage": "ok"}', True),
        (b'{"postgres": "ok", "redis": "ConnectionError", "storage": "ok"}', False),
        (b'{"postgres": "ok"}', False),
        (b"[]", False),
        (b"<html>", False),
    ],
)
def test_ready_means_every_part(body: bytes, ok: bool) -> None:
    assert parts_are_ok(body) is ok


def test_no_answer_is_not_ready() -> None:
    assert not answers_ok(ports.free(1)[0], "/health/live")


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    made = make_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProgramFailed, match="file/data cannot be made"):
        make_directory(tmp_path / "file" / "data")
