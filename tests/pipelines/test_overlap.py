"""Decoders side by side: the same media in the same order, one error, and nobody goes on after it."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anygen import AnyGenPipeline
from anygen.errors import Cancelled, NonFinite
from anygen.messages import MediaPart
from anygen.modality import Modality
from anygen.pipelines.answering import Answering
from anygen.pipelines.events import Done, MediaFinished, MediaProgress, MediaStarted
from anygen.pipelines.overlap import ShouldStop, side_by_side
from anygen.pipelines.reply import Reply
from anygen.pipelines.streaming import Stop

CPU = torch.device("cpu")
ALL = ["image", "audio", "video"]


def test_tasks_run_at_once_and_come_back_in_order() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def task(number: int) -> Any:
        def run(should_stop: ShouldStop) -> tuple[int, bool]:
            meeting.wait()  # nobody passes before all three are here
            return number, torch.is_inference_mode_enabled()

        return run

    with torch.inference_mode():
        found = side_by_side([task(i) for i in range(3)], Stop(), device=CPU, apart=True)
    assert found == [(0, True), (1, True), (2, True)]
    threads = side_by_side([lambda _: threading.get_ident()] * 3, Stop(), device=CPU, apart=False)
    assert threads == [threading.get_ident()] * 3


def test_the_first_error_is_raised_and_stops_the_others() -> None:
    begun, stopped = threading.Event(), []

    def patient(should_stop: ShouldStop) -> None:
        begun.set()
        while not should_stop():
            pass
        stopped.append(True)
        raise Cancelled

    def broken(should_stop: ShouldStop) -> None:
        begun.wait(20)
        raise NonFinite("found NaN")

    with pytest.raises(NonFinite, match="found NaN"):
        side_by_side([patient, broken], Stop(), device=CPU, apart=True)
    assert stopped == [True]


def test_the_caller_stops_all() -> None:
    stop = Stop()
    stop.set()

    def task(should_stop: ShouldStop) -> None:
        if should_stop():
            raise Cancelled

    with pytest.raises(Cancelled):
        side_by_side([task, task], stop, device=CPU, apart=True)


def test_an_answer_is_the_same_and_its_events_are_whole(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = AnyGenPipeline.from_pretrained(tiny_folder)
    alone = pipe("a star", outputs=ALL, seed=3)
    monkeypatch.setattr(Answering, "_overlaps", lambda self, device: True)
    together = pipe("a star", outputs=ALL, seed=3)
    assert [p.modality for p in shown(alone)] == [p.modality for p in shown(together)]
    for one, other in zip(shown(alone), shown(together), strict=True):
        assert np.array_equal(numbers(one), numbers(other))
    seen: dict[tuple[Modality, int], list[Any]] = defaultdict(list)
    for event in pipe.stream("a star", outputs=ALL, seed=3):
        if isinstance(event, MediaStarted | MediaProgress | MediaFinished):
            seen[event.modality, event.index].append(event)
    assert isinstance(event, Done) and len(seen) >= 3
    for events in seen.values():
        assert isinstance(events[0], MediaStarted) and isinstance(events[-1], MediaFinished)
        steps = [e.step for e in events[1:-1]]
        assert steps == list(range(1, events[1].total + 1))


def test_a_budget_keeps_them_apart(tiny_folder: Path) -> None:
    cuda = torch.device("cuda")
    free = AnyGenPipeline.from_pretrained(tiny_folder)
    tight = AnyGenPipeline.from_pretrained(tiny_folder, memory_budget="8GiB")
    assert free._answering._overlaps(cuda) and not tight._answering._overlaps(cuda)
    assert not free._answering._overlaps(CPU)


@pytest.mark.gpu
def test_streams_give_what_one_after_another_gives(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = AnyGenPipeline.from_pretrained(tiny_folder, device="cuda")
    together = [pipe("a star", outputs=ALL, seed=seed) for seed in range(4)]
    monkeypatch.setattr(Answering, "_overlaps", lambda self, device: False)
    for seed, reply in enumerate(together):
        alone = pipe("a star", outputs=ALL, seed=seed)
        for one, other in zip(shown(alone), shown(reply), strict=True):
            assert np.abs(numbers(one).astype(float) - numbers(other)).max() <= 1


def shown(reply: Reply) -> list[MediaPart]:
    return [part for part in reply.parts if isinstance(part, MediaPart)]


def numbers(part: MediaPart) -> np.ndarray:
    """Pixels, frames or samples, the samples as 16 bits would have them."""
    if part.modality is Modality.AUDIO:
        return np.round(np.asarray(part.media.samples) * 2**15)
    return np.asarray(part.media if part.modality is Modality.IMAGE else part.media.frames)
