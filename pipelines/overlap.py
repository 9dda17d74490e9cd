"""Independent computations side by side: on CUDA each in a thread and a stream of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

ShouldStop = Callable[[], bool]
"""Asked between steps."""


def side_by_side(
    tasks: Sequence[Callable[[ShouldStop], T]], should_stop: ShouldStop, *, device: torch.device, apart: bool
) -> list[T]:
    """Run tasks that need nothing of one another.

    The kernels of one small batch leave most of a GPU idle; those of other streams fill it. On a CPU, where
    one task takes all cores, they run one after another.

    Args:
        tasks: each is told how to ask whether to stop.
        should_stop: asked between their steps; once a task has failed, the others are told to stop, too.
        device: where they compute.
        apart: a thread for each task, and a stream where the device is CUDA's; otherwise in their order.

    Returns:
        What they returned, in their order.

    Raises:
        Exception: what the first one to fail raised, when all have ended.
    """
    if not apart or len(tasks) < 2:
        return [task(should_stop) for task in tasks]
    failures: list[BaseException] = []
    inference = torch.is_inference_mode_enabled()
    current = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def run(task: Callable[[ShouldStop], T]) -> T | None:
        try:
            with torch.inference_mode(inference), _stream(device, current):
                return task(lambda: bool(failures) or should_stop())
        except BaseException as error:  # raised in the caller's thread, when all have ended
            failures.append(error)
            return None

    with ThreadPoolExecutor(len(tasks), thread_name_prefix="anygen-decoder") as pool:
        results = list(pool.map(run, tasks))
    if failures:
        raise failures[0]
    return results  # type: ignore[return-value]  # None only where a task has failed


@contextlib.contextmanager
def _stream(device: torch.device, current: torch.cuda.Stream | None) -> Iterator[None]:
    """A stream that begins when `current` has done its work and has ended when the block has."""
    if current is None:
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()
