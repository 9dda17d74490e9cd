"""Events from a worker thread: in order, in step with the reader, stopped when the reader leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from anygen.errors import Cancelled
from anygen.pipelines.streaming import Stop, iterate


def test_events_come_in_order_and_in_step() -> None:
    done = 0

    def work(report: Callable[[int], None], stop: Stop) -> None:
        nonlocal done
        for i in range(20):
            report(i)
            done = i + 1

    for i, event in enumerate(iterate(work)):
        assert event == i
        assert done == i  # the worker waits while an event is handled
    assert done == 20


def test_the_work_raises_in_the_reader() -> None:
    def work(report: Callable[[int], None], stop: Stop) -> None:
        report(1)
        raise RuntimeError("broken")

    stream = iterate(work)
    assert next(stream) == 1
    with pytest.raises(RuntimeError, match="^broken$"):
        next(stream)


def test_leaving_stops_the_work() -> None:
    seen: list[BaseException] = []
    steps = 0

    def work(report: Callable[[int], None], stop: Stop) -> None:
        nonlocal steps
        try:
            while True:
                stop.check()
                steps += 1
                report(steps)
        except Cancelled as error:
            seen.append(error)
            raise

    before = threading.active_count()
    for event in iterate(work):
        if event == 3:
            break
    assert len(seen) == 1 and str(seen[0]).startswith("The request was stopped by its caller")
    assert steps == 3
    assert threading.active_count() == before
