"""Free TCP ports on the loopback."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"

# Below the range the kernel hands to outgoing connections (from 32768 on Linux, 49152 elsewhere): a
# server that is started again must find its port still free.
_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignore TIME_WAIT
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free(count: int) -> list[int]:
    """`count` different ports nobody listens on, chosen at random.

    Raises OSError where there are not that many.
    """
    found = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise OSError("no free port on the loopback")
