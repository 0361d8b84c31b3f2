"""What comes over a socket and is no request, or none that ever ends: each is answered with a 4xx or closed,
and whoever else asks meanwhile is answered."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.databases import fresh_database
from tests.integration.api_client import token
from tests.integration.test_api_process import process

HEAD_S, BODY_S = 2.0, 3.0
LIMITS = {
    "HEAD_TIMEOUT_S": str(HEAD_S),
    "BODY_TIMEOUT_S": str(BODY_S),
    "MAX_UPLOAD_BYTES": "3000000",
    "MAX_CONNECTIONS": "60",
}
SLACK_S = 8.0
"""Machines are shared; the check runs once a second."""


class Running(NamedTuple):
    program: subprocess.Popen[str]
    url: str
    memory: psutil.Process
    address: tuple[str, int]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def say(self, data: bytes) -> bytes:
        """What comes back until the other side closes, or until an answer has come and nothing more does."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return heard(connection, BODY_S + SLACK_S)

    def is_well(self) -> None:
        """Somebody else is answered, at once."""
        began = time.monotonic()
        assert httpx.get(f"{self.url}/health/live", timeout=10).status_code == 200
        assert time.monotonic() - began < 5


@pytest.fixture(scope="module")
def server(servers: Mapping[str, str], template: str, buckets: None) -> Iterator[Running]:
    with fresh_database(servers, template) as env, process({**env, **LIMITS}) as (program, url):
        where = urlsplit(url)
        assert where.hostname and where.port
        yield Running(program, url, psutil.Process(program.pid), (where.hostname, where.port))


@pytest.fixture
def running(server: Running) -> Iterator[Running]:
    """The one that all of them are tried on: none may leave it worse than it was."""
    server.is_well()
    yield server
    server.is_well()
    assert server.program.poll() is None


def heard(connection: socket.socket, patience_s: float) -> bytes:
    connection.settimeout(patience_s)
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            found += data
            head, _, rest = found.partition(b"\r\n\r\n")
            length = next(
                (
                    int(x.split(b":")[1])
                    for x in head.split(b"\r\n")
                    if x.lower().startswith(b"content-length")
                ),
                None,
            )
            if length is not None and len(rest) >= length:
                break
    return found


def status_of(answer: bytes) -> int | None:
    """None where it was closed without an answer."""
    return int(answer.split(b" ", 2)[1]) if answer else None


def request(line: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join([line, "Host: x", *headers, "", body]).encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"


def login(*headers: str, body: str = "") -> bytes:
    return request("POST /auth/dev-login HTTP/1.1", JSON, *headers, body=body)


NO_REQUESTS: dict[str, bytes] = {
    "noise": bytes(range(256)) * 20,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no such version": request("GET / HTTP/9.9"),
    "no such method": request("BREW / HTTP/1.1"),
    "only line ends, and then nothing of use": b"\r\n" * 5_000 + b"x\r\n\r\n",
    "both lengths": login("Content-Length: 5", CHUNKED, body="0\r\n\r\nGET"),
    "two lengths": login("Content-Length: 5", "Content-Length: 6", body="{}"),
    "a length of less than nothing": login("Content-Length: -1"),
    "a length beyond all numbers": login("Content-Length: " + "9" * 40),
    "a hidden coding": login("Transfer-Encoding: xchunked", body="{}"),
    "a chunk of no length": login(CHUNKED, body="zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk beyond all numbers": login(CHUNKED, body="f" * 17 + "\r\n"),
    "a blank before the colon": request("GET /health/live HTTP/1.1", "Content-Length : 5"),
    "a folded header": request("GET /health/live HTTP/1.1", "A: b\r\n c: d"),
    "NUL in a header": request("GET /health/live HTTP/1.1", "A: b\0c"),
    "a line end alone": b"GET /health/live HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\n\n",
    "a path of 100 kB": request(f"GET /{'a' * 100_000} HTTP/1.1"),
    "a query of 1 MB": request(f"GET /health/live?{'a' * 1_000_000} HTTP/1.1"),
    "a header of 1 MB": request("GET /health/live HTTP/1.1", f"A: {'b' * 1_000_000}"),
    "ten thousand headers": request("GET /health/live HTTP/1.1", *[f"A{i}: {i}" for i in range(10_000)]),
    "another server's address without a path": request("GET http://example.org HTTP/1.1"),
    "a tunnel": request("CONNECT example.org:443 HTTP/1.1"),
    "a path of no text": request("GET /\xff\xfe HTTP/1.1"),
    "a length that is not kept": login("Content-Length: 999999", body="{"),
    "a JSON body of 2 MB": login("Content-Length: 2000000", body="["),
    "a JSON body of 2 MB in chunks": login(CHUNKED) + (b"8000\r\n" + b"[" * 0x8000 + b"\r\n") * 61,
}


def test_what_is_no_request(running: Running) -> None:
    for what, sent in NO_REQUESTS.items():
        answer = running.say(sent)
        status = status_of(answer)
        assert status is None or 400 <= status < 500, (what, answer[:200])
        if status is not None:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"application/problem+json" in head, (what, answer[:300])
            assert json.loads(body)["status"] == status, what
        running.is_well()


def test_requests_that_are_odd_but_right(running: Running) -> None:
    for what, sent in {
        "HTTP/1.0": b"GET /health/live HTTP/1.0\r\n\r\n",
        "an absolute address": request("GET http://x/health/live HTTP/1.1"),
        "many headers": request("GET /health/live HTTP/1.1", *[f"A{i}: {i}" for i in range(100)]),
        "one after another": request("GET /health/live HTTP/1.1") * 50,
    }.items():
        assert status_of(running.say(sent)) == 200, what


def dribble(running: Running, first: bytes, more: bytes, limit_s: float) -> bytes:
    """Say the one, and then the other five times a second: what comes back until it is closed, in time."""
    with running.connect() as slow:
        slow.settimeout(0.2)
        began, answer = time.monotonic(), b""
        with contextlib.suppress(ConnectionError):
            slow.sendall(first)
            while time.monotonic() - began < limit_s + SLACK_S:
                try:
                    answer += (data := slow.recv(4096))
                    if not data:
                        break
                except TimeoutError:
                    slow.sendall(more)
        took = time.monotonic() - began
        assert limit_s * 0.9 < took < limit_s + SLACK_S, (first[:200], answer)
        return answer


def test_a_head_that_never_ends(running: Running) -> None:
    """Slowly, one byte at a time; not at all; or without end and as fast as it goes."""
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    with ThreadPoolExecutor() as each:
        slow = [
            each.submit(dribble, running, first, more, HEAD_S) for first, more in ((b"", b""), (head, b"A"))
        ]
        running.is_well()
    for one in slow:
        assert status_of(one.result()) in (None, 408)
    before = running.memory.memory_info().rss
    with running.connect() as fast:
        fast.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            fast.sendall((b"A: " + b"b" * 997 + b"\r\n") * 200_000)
    assert running.memory.memory_info().rss - before < 32 * 2**20


def upload(user: uuid.UUID, *headers: str) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=b"
    head = request("POST /files HTTP/1.1", f"Authorization: Bearer {token(user)}", kind, *headers)
    return head


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="t.csv"\r\n\r\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_body_that_hardly_moves(running: Running) -> None:
    bodies = (
        (login("Content-Length: 100000"), b" "),
        (login(CHUNKED), b"1\r\n \r\n"),
        (upload(uuid.uuid4(), CHUNKED) + chunk(PART), b"1\r\n \r\n"),
    )
    with ThreadPoolExecutor() as each:
        slow = [each.submit(dribble, running, head, more, BODY_S) for head, more in bodies]
        running.is_well()
    for one in slow:
        assert status_of(one.result()) in (None, 400, 408)


def test_a_body_without_end(running: Running) -> None:
    """It is answered where the limit is, in constant memory, and what comes after is not taken for long."""
    user = uuid.uuid4()
    running.say(login("Content-Length: 2") + b"{}")  # what is made once is made
    before = running.memory.memory_info().rss
    for head, status in ((login(CHUNKED) + chunk(b"["), 413), (upload(user, CHUNKED) + chunk(PART), 413)):
        with running.connect() as endless:
            endless.settimeout(30)
            sent, began, answer = 0, time.monotonic(), b""
            more = chunk(b" " * 60_000)
            try:
                endless.sendall(head)
                while time.monotonic() - began < SLACK_S + 10:
                    endless.sendall(more)
                    sent += len(more)
                    if not answer and select.select([endless], [], [], 0)[0]:
                        answer = endless.recv(65536)
            except ConnectionError:
                pass
            else:
                pytest.fail(f"{sent:,} bytes were taken, and more would be")
            assert status_of(answer) == status, (head[:30], sent, answer)
            running.is_well()
    assert running.memory.memory_info().rss - before < 32 * 2**20
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {token(user)}"}) as me:
        assert me.get("/files").json()["items"] == []


def test_an_upload_over_the_limit_is_told_so_although_it_goes_on_sending(running: Running) -> None:
    with httpx.Client(base_url=running.url, timeout=30) as me:
        me.headers["Authorization"] = f"Bearer {token(uuid.uuid4())}"
        answer = me.post("/files", files={"file": ("t.csv", b"x" * 6_000_000)})
        assert (answer.status_code, answer.json()["type"]) == (413, "too-large")
        assert me.get("/files").status_code == 200


def test_connections_that_say_nothing_make_room(running: Running) -> None:
    """Twice as many as there may be: whoever asks is answered all the same."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(running.connect()) for _ in range(120)]
        running.is_well()
        assert running.memory.num_fds() < 120
        began = time.monotonic()
        for connection in silent:
            assert heard(connection, HEAD_S + SLACK_S) == b""
        assert time.monotonic() - began < HEAD_S + SLACK_S


def test_an_answer_that_nobody_reads(running: Running) -> None:
    with running.connect() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(TimeoutError, ConnectionError):
            deaf.settimeout(1)
            deaf.sendall(request("GET /schema/openapi.json HTTP/1.1") * 400)
        until = time.monotonic() + BODY_S + SLACK_S
        while any(c.raddr and c.raddr[1] == deaf.getsockname()[1] for c in running.memory.net_connections()):
            assert time.monotonic() < until, "it waits for ever"
            time.sleep(0.1)  # nothing but the list of connections tells of it
