"""`python -m deploy.local` with everything real, and what happens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

import httpx
import psutil
import pytest

from deploy import embedded, holder, ports
from deploy.processes import wait_gone

PARTS = {"postgres", "valkey", "s3", "api", "trainer", "packager"}
PATIENCE_S = 60


class LocalStack:
    """One run of the supervisor in a process group of its own, and what it has said so far."""

    def __init__(self, directory: Path, *options: str, environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "--data-dir", str(directory), *options],
            env={"PATH": os.environ["PATH"], "TRAINER_SLOTS": "1"} | dict(environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self._more:
                self.lines.append(line.rstrip())
                self._more.notify_all()
        with self._more:
            self.lines.append("")  # whoever waits is told that nothing more comes
            self._more.notify_all()

    def line_with(self, part: str) -> str:
        """The first line that has `part`, waited for."""

        def found() -> list[str]:
            return [line for line in self.lines if part in line]

        with self._more:
            self._more.wait_for(lambda: found() or (self.lines and self.lines[-1] == ""), PATIENCE_S)
            assert found(), f"{part!r} was not said; said was:\n" + "\n".join(self.lines)
            return found()[0]

    def url(self) -> str:
        return self.line_with("Trainyard is ready at ").removeprefix("Trainyard is ready at ")

    def children(self) -> dict[str, int]:
        state = holder.read_holder(self.directory)
        assert state is not None
        return {name: pid for name, (pid, _) in state.children.items()}

    def everything(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ended(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


@contextlib.contextmanager
def local_stack(
    directory: Path, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[LocalStack]:
    stack = LocalStack(directory, *options, environ=environ)
    try:
        yield stack
    finally:
        stack.process.terminate()
        stack.ended()


def some_port() -> tuple[str, str]:
    """Not the usual one, which other stacks on this machine may be about to take."""
    return "--port", str(ports.free(1)[0])


def health(url: str) -> dict[str, str]:
    return dict(httpx.get(f"{url}/health/ready", timeout=10).json())


def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    port = ports.free(1)[0]
    with local_stack(tmp_path, "--port", str(port)) as stack:
        url = stack.url()
        assert url == f"http://127.0.0.1:{port}"
        assert {health(url)[part] for part in ("postgres", "redis", "storage")} == {"ok"}
        login = httpx.post(f"{url}/auth/dev-login", json={"email": "ann@example.com"})
        assert login.status_code == HTTPStatus.OK
        bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
        assert httpx.get(f"{url}/files", headers=bearer).json()["items"] == []

        second = LocalStack(tmp_path)
        assert second.ended() == 1
        second.line_with(f"Trainyard already runs on {tmp_path} at {url} (process {stack.process.pid})")
        third = LocalStack(tmp_path / "other", "--port", str(port))
        assert third.ended() == 1
        third.line_with(f"port {port} is taken by another program")

        children = stack.children()
        assert children.keys() == PARTS
        everything = stack.everything()
        assert {psutil.Process(pid) for pid in children.values()} <= set(everything)
        # a terminal's Ctrl-C goes to the whole foreground group, and make passes SIGTERM on once more
        os.killpg(stack.process.pid, signal.SIGINT)
        stack.process.terminate()
        assert stack.ended() == 0
        assert [process for process in everything if not wait_gone(process, timeout_s=1)] == []
        assert sum("Trainyard is ready" in line for line in stack.lines) == 1


def test_whatever_dies_comes_back(tmp_path: Path) -> None:
    with local_stack(tmp_path, *some_port()) as stack:
        url = stack.url()
        before = stack.children()
        for together in ({"postgres", "valkey", "s3"}, {"api", "trainer", "packager"}):
            for name in together:
                os.kill(before[name], signal.SIGKILL)
            for name in together:
                stack.line_with(f"{name} is back")
        assert {health(url)[part] for part in ("postgres", "redis", "storage")} == {"ok"}
        stack.process.terminate()
        assert stack.ended() == 0


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with local_stack(tmp_path, *some_port()) as stack:
        stack.url()
        everything = stack.everything()
        for name in ("api", "postgres"):
            os.kill(stack.children()[name], signal.SIGSTOP)  # neither will end when asked
        stack.process.send_signal(signal.SIGINT)
        stack.line_with("Stopping")
        while stack.process.poll() is None:
            stack.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                stack.process.wait(0.3)
        assert stack.ended() == 0
        stack.line_with("Killing what is left")
        assert [process for process in everything if not wait_gone(process, timeout_s=1)] == []


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_goes_on(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, *some_port())
    url = stack.url()
    login = httpx.post(f"{url}/auth/dev-login", json={"email": "ann@example.com"}).json()
    everything = stack.everything()
    stack.process.kill()
    stack.ended()
    with local_stack(tmp_path) as again:
        assert again.url() == url
        assert [process for process in everything if not wait_gone(process, timeout_s=10)] == []
        bearer = {"Authorization": f"Bearer {login['access_token']}"}
        answer = httpx.get(f"{url}/files", headers=bearer)
        assert answer.status_code == HTTPStatus.OK, "tokens outlive a restart"


def test_servers_that_are_given_are_used(tmp_path: Path) -> None:
    # servers of its own: the stack gives the services' logins new passwords
    with (
        embedded.servers(tmp_path / "given") as servers,
        local_stack(
            tmp_path / "stack",
            "--no-dev-login",
            *some_port(),
            environ={k: v for k, v in servers.items() if not k.startswith(("API_", "WORKER_"))},
        ) as stack,
    ):
        url = stack.url()
        assert {health(url)[part] for part in ("postgres", "redis", "storage")} == {"ok"}
        assert stack.children().keys() == {"api", "trainer", "packager"}
        assert httpx.post(f"{url}/auth/dev-login", json={"email": "a@b.example"}).status_code in (
            HTTPStatus.NOT_FOUND,
            HTTPStatus.METHOD_NOT_ALLOWED,
        )


@pytest.mark.parametrize("variable", ["REDIS_URL", "DATABASE_URL", "S3_ENDPOINT_URL"])
def test_a_server_that_cannot_be_reached_stops_the_start(tmp_path: Path, variable: str) -> None:
    port = ports.free(1)[0]
    address = {
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "DATABASE_URL": f"postgresql://me:secret@127.0.0.1:{port}/db",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }[variable]
    environ = {variable: address}
    if variable == "S3_ENDPOINT_URL":
        environ |= {"S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": "secret"}
    stack = LocalStack(tmp_path, environ=environ)
    assert stack.ended() == 1
    said = "\n".join(stack.lines)
    assert f"Trainyard could not start: nothing answers at 127.0.0.1:{port}, which {variable} names" in said
    assert "secret" not in said
