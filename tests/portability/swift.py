"""OpenStack Swift with its S3 API: an S3 server that has nothing in common with the embedded one. One node on
the loopback, from PyPI's `swift`, in an environment of its own.

It needs Linux and a disk that keeps extended attributes, where Swift has what it knows of an object.
"""

from __future__ import annotations

import getpass
import http.client
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy import ports
from deploy.ports import HOST
from deploy.processes import Program, Running
from tests.bench.models.environments import python_of, versions

REQUIREMENTS = ["swift>=2.38,<3"]

_PIPELINE = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo"
    " versioned_writes symlink proxy-server"
)
_FILTERS = {name: name for name in _PIPELINE.split()[:-1]} | {"cache": "memcache"}


def version() -> str:
    """Of the package; it is installed where it is not yet."""
    return versions(_python(), ["swift"])["swift"]


@contextmanager
def running(directory: Path) -> Iterator[dict[str, str]]:
    """Run it with its data under `directory`: the variables under which it is found.

    Raises CalledProcessError, ProgramFailed and OSError where this machine cannot.
    """
    bin_, directory = _python().parent, directory.resolve()
    _keeps_attributes(directory)
    port = dict(zip(("proxy", "object", "container", "account"), ports.free(4), strict=True))
    secret = secrets.token_hex(20)
    etc = directory / "etc"
    etc.mkdir(parents=True)
    (directory / "node" / "sdb1").mkdir(parents=True)
    _configure(etc, directory / "node", port, secret)
    for kind in ("object", "container", "account"):
        for arguments in (
            ("create", "6", "1", "1"),
            ("add", f"r1z1-{HOST}:{port[kind]}/sdb1", "1"),
            ("rebalance",),
        ):
            command = [bin_ / "swift-ring-builder", f"{kind}.builder", *arguments]
            subprocess.run(command, cwd=etc, check=True, capture_output=True)
    with ExitStack() as stack:
        started = []
        for kind in ("account", "container", "object", "proxy"):
            server = Running(_program(bin_, etc, kind, port[kind]), directory / "logs")
            stack.callback(server.stop)
            server.start()
            started.append(server)
        for server in started:
            server.wait_ready()
        yield {
            "S3_ENDPOINT_URL": f"http://{HOST}:{port['proxy']}",
            "S3_ACCESS_KEY_ID": "test:tester",
            "S3_SECRET_ACCESS_KEY": secret,
            "S3_REGION": "us-east-1",
        }


def _python() -> Path:
    return python_of("swift", REQUIREMENTS)


def _keeps_attributes(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    os.setxattr(directory, "user.trainyard", b"1")


def _program(bin_: Path, etc: Path, kind: str, port: int) -> Program:
    return Program(
        name=f"swift-{kind}",
        command=[str(bin_ / f"swift-{kind}-server"), str(etc / f"{kind}.conf")],
        environ={"PATH": f"{bin_}:{os.environ.get('PATH', '')}", "HOME": str(etc)},
        ready=lambda _: _is_healthy(port) if kind == "proxy" else _listens(port),
        kill_after_s=5.0,
        ready_within_s=120.0,
    )


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def _configure(etc: Path, node: Path, port: Mapping[str, int], secret: str) -> None:
    general = f"bind_ip = {HOST}\nuser = {getpass.getuser()}\nswift_dir = {etc}\nlog_level = WARNING\n"
    more = {
        "s3api": "s3_acl = no\nlocation = us-east-1\ncheck_bucket_owner = no\n",
        "tempauth": f"user_test_tester = {secret} .admin\n",
        "versioned_writes": "allow_versioned_writes = true\n",
    }
    files = {
        "swift.conf": "[swift-hash]\nswift_hash_path_prefix = local\nswift_hash_path_suffix = local\n"
        "[storage-policy:0]\nname = gold\npolicy_type = replication\ndefault = yes\n",
        "proxy.conf": f"[DEFAULT]\n{general}bind_port = {port['proxy']}\nworkers = 1\n"
        f"[pipeline:main]\npipeline = {_PIPELINE}\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\n"
        "account_autocreate = true\n"
        + "".join(
            f"[filter:{name}]\nuse = egg:swift#{egg}\n{more.get(name, '')}" for name, egg in _FILTERS.items()
        ),
    }
    for kind in ("object", "container", "account"):
        files[f"{kind}.conf"] = (
            f"[DEFAULT]\n{general}bind_port = {port[kind]}\ndevices = {node}\nmount_check = false\n"
            f"workers = 0\nfallocate_reserve = 0\n[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        )
    for name, text in files.items():
        (etc / name).write_text(text)
