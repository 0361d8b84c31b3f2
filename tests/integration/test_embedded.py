"""The embedded servers, as tests and the local stack use them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import aioboto3
import asyncpg
import psutil
import pytest
import redis.asyncio
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy import embedded
from deploy.processes import ProgramFailed, wait_gone


def s3_client(env: Mapping[str, str], secret: str | None = None):
    return aioboto3.Session().client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        aws_access_key_id=env["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or env["S3_SECRET_ACCESS_KEY"],
        region_name=env["S3_REGION"],
        config=Config(signature_version="s3v4", retries={"max_attempts": 0}),
    )


async def test_each_server_answers_who_knows_the_password(servers: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(servers["DATABASE_URL"])
    assert await connection.fetchval("SHOW server_version_num") >= "180000"
    await connection.close()
    async with redis.asyncio.from_url(servers["REDIS_URL"]) as client:
        assert await client.ping()
    async with s3_client(servers) as s3:
        assert "Buckets" in await s3.list_buckets()


async def test_each_server_refuses_who_does_not(servers: Mapping[str, str]) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(servers["DATABASE_URL"], password="wrong")
    port = redis.asyncio.from_url(servers["REDIS_URL"]).connection_pool.connection_kwargs["port"]
    async with redis.asyncio.Redis(port=port) as client:
        with pytest.raises(redis.asyncio.AuthenticationError):
            await client.ping()
    async with s3_client(servers, secret="wrong") as s3:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await s3.list_buckets()


async def test_postgres_trusts_no_local_connection(servers: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(servers["DATABASE_URL"])
    methods = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert [row["auth_method"] for row in methods] == ["scram-sha-256"]
    assert await connection.fetchval("SHOW unix_socket_directories") == ""
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    await connection.close()


async def test_data_outlives_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "a folder with spaces"
    with embedded.servers(data, durable=True) as env:
        connection = await asyncpg.connect(env["DATABASE_URL"])
        await connection.execute("CREATE TABLE kept AS SELECT 'in Postgres' AS text")
        await connection.close()
        async with redis.asyncio.from_url(env["REDIS_URL"]) as client:
            await client.set("kept", "in Valkey")
        async with s3_client(env) as s3:
            await s3.create_bucket(Bucket="kept")
    with embedded.servers(data, durable=True) as env:
        connection = await asyncpg.connect(env["DATABASE_URL"])
        assert await connection.fetchval("SELECT text FROM kept") == "in Postgres"
        await connection.close()
        async with redis.asyncio.from_url(env["REDIS_URL"]) as client:
            assert await client.get("kept") == b"in Valkey"
        async with s3_client(env) as s3:
            assert [b["Name"] for b in (await s3.list_buckets())["Buckets"]] == ["kept"]


def test_credentials_are_private_and_stay(tmp_path: Path) -> None:
    first = embedded.load_credentials(tmp_path)
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert embedded.load_credentials(tmp_path) == first
    assert first.postgres_password not in repr(first)


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ProgramFailed, match="was written by Postgres 14, and this is Postgres 18"):
        with embedded.servers(tmp_path):
            pass


HOLD = """
import sys
from pathlib import Path
from deploy import embedded
with embedded.servers(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_servers_end_with_a_killed_owner_and_start_again(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
    children = psutil.Process(owner.pid).children(recursive=True)
    assert {"postgres", "valkey-server"} <= {child.name() for child in children}
    owner.kill()
    owner.communicate()
    for child in children:
        assert wait_gone(child, timeout_s=10), f"{child} lingers"
    with embedded.servers(tmp_path) as env:
        assert env["DATABASE_URL"]


def test_a_stale_pid_file_of_a_living_stranger_does_not_stop_postgres(tmp_path: Path) -> None:
    with embedded.servers(tmp_path):
        pass
    stale = f"{os.getpid()}\n{tmp_path}/postgres\n1\n1\n\n127.0.0.1\n1 1\nready\n"
    (tmp_path / "postgres" / "postmaster.pid").write_text(stale)
    with embedded.servers(tmp_path) as env:
        assert env["DATABASE_URL"]


def test_a_postgres_left_behind_makes_way(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
    left = int((tmp_path / "postgres" / "postmaster.pid").read_text().split("\n")[0])
    with embedded.servers(tmp_path):
        assert int((tmp_path / "postgres" / "postmaster.pid").read_text().split("\n")[0]) != left
    owner.send_signal(signal.SIGINT)
    owner.communicate()
