"""Semaphores for a process that has only threads.

`multiprocessing.pool.ThreadPool`, on which joblib's threads run, makes semaphores that processes can share:
files in `/dev/shm`, where other programs, Postgres among them, keep their memory. A fit cannot reach that,
and has nobody to share with.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]  # typeshed leaves it out
import threading
from typing import Any

_RECURSIVE_MUTEX = 0


class ThreadSemLock:
    """What `multiprocessing.synchronize` asks of `_multiprocessing.SemLock`, between threads."""

    SEM_VALUE_MAX = 2**31 - 1

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        self.kind, self.maxvalue, self.name, self.handle = kind, maxvalue, None, 0
        self._value = value
        self._changed = threading.Condition(threading.Lock())
        self._owner: int | None = None
        self._times = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        me = threading.get_ident()
        with self._changed:
            if self.kind == _RECURSIVE_MUTEX and self._owner == me and self._times:
                self._times += 1
                return True
            patience = (None if timeout is None else max(0.0, timeout)) if block else 0.0
            if not self._changed.wait_for(lambda: self._value > 0, patience):
                return False
            self._value -= 1
            self._owner, self._times = me, self._times + 1
            return True

    def release(self) -> None:
        with self._changed:
            if self.kind == _RECURSIVE_MUTEX:
                if not self._is_mine():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                if self._times > 1:
                    self._times -= 1
                    return
            elif self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._times -= 1
            self._value += 1
            self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._times

    def _is_mine(self) -> bool:
        return self._times > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        self._times = 0


def share_with_threads_alone() -> None:
    """For the rest of this process: a semaphore that `multiprocessing` makes is one between its threads."""
    module: Any = _multiprocessing
    module.SemLock = ThreadSemLock
