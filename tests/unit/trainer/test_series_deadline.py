from __future__ import annotations

import signal
import threading

import pytest

from services.trainer.series_deadline import OutOfTime, within


def ring() -> None:
    signal.raise_signal(signal.SIGALRM)


def test_a_block_ends_where_the_timer_rings() -> None:
    reached = []

    def work(seconds: float) -> None:
        with within(seconds):
            reached.append(seconds)
            ring()
            reached.append(seconds)

    for seconds in (1_000, 0):  # of none nothing is begun
        with pytest.raises(OutOfTime):
            work(seconds)
    assert reached == [1_000]
    # what a library does with a form of a model that fails would hide it
    assert not issubclass(OutOfTime, Exception)


def test_the_timer_that_was_there_before_goes_on() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
    before = signal.setitimer(signal.ITIMER_REAL, 5_000)
    try:
        with within(1_000), pytest.raises(OutOfTime), within(2_000):
            ring()
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 4_000 < left <= 5_000 and rung == []
        ring()
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def test_a_thread_that_gets_no_signals_is_not_stopped() -> None:
    done = []

    def work() -> None:
        with within(1_000):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
