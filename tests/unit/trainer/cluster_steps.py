"""Steps with a door to a cluster, for test_cluster_door.py. Run in child processes only."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.trainer import cluster_door


def echo(text: str, *, scratch: Path, progress: Any) -> str:
    """What comes back over a connection that the door gave."""
    with cluster_door.connection() as connection:
        connection.setblocking(True)
        connection.sendall(text.encode())
        return connection.recv(1000).decode()


def connect_often(times: int, *, scratch: Path, progress: Any) -> int:
    """How many connections are given of so many asked for, each closed at once."""
    given = 0
    for _ in range(times):
        try:
            cluster_door.connection().close()
        except ConnectionRefusedError:
            return given
        given += 1
    return given


def reach_out(port: int, *, scratch: Path, progress: Any) -> dict[str, str]:
    """What becomes of other ways to the network, for a step that has a connection already."""
    here, there = socket.socketpair()
    connection = cluster_door.connection()
    attempts: dict[str, Callable[[], object]] = {
        "a socket": lambda: socket.socket().close(),
        "a name": lambda: socket.create_connection(("127.0.0.1", port), 1).close(),
        "another peer": lambda: connection.connect(("127.0.0.1", port)),
        "a datagram to an address": lambda: here.sendto(b"x", str(scratch / "socket")),
        "a listener": lambda: connection.listen(),
        "a message with descriptors": lambda: socket.send_fds(here, [b"x"], [0]),
        "a pair of another kind": lambda: socket.socketpair(socket.AF_INET),
        "a program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606 — it is refused
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = "did it"
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, str(error))
    here.send(b"own")
    found["its own pair"] = there.recv(3).decode()
    return found
