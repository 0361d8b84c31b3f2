"""A block of work that ends when its time does, wherever a library is then.

A fit of one series is a single call that no library lets one stop. The kernel's timer does: the handler of
its signal raises between two steps of the interpreter, so that only a call into compiled code ends later.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

_AGAIN_S = 0.2
"""A library may have caught what was raised: it is raised again until the block is left."""


class OutOfTime(BaseException):
    """No Exception: the libraries catch those to try something else."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block once `seconds` have passed; at once where there are none.

    Blocks may lie in one another. In a thread other than the main one, which gets no signals, nothing stops.
    """
    if seconds <= 0:
        raise OutOfTime
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True

    def ring(_number: int, _frame: object) -> None:
        if armed:
            raise OutOfTime

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    outer, again = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        try:
            yield
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            # whoever set a timer before gets the rest of it
            rest = max(outer - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, again)
