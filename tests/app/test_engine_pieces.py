"""Small parts of the engine process, without a process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anygen.app.engine.history import without_oldest
from anygen.app.engine.previews import Previews
from anygen.app.engine.worker import Stop, resident_bytes
from anygen.app.engine.workspace import Workspace
from anygen.modality import Modality
from anygen.pipelines import events


def test_the_oldest_question_goes_with_its_answer() -> None:
    system, *rest = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    assert without_oldest([system, *rest]) == [system, rest[-1]]
    assert without_oldest(rest) == rest[-1:]
    assert without_oldest(rest[-1:]) == rest[-1:]


def test_a_stop_is_for_one_request() -> None:
    stop = Stop()
    stop.ask("second")
    stop.begin("first")
    assert not stop()
    stop.end()
    stop.begin("second")
    assert stop()
    stop.end()
    assert not stop()


def test_previews_of_pictures_and_films(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    previews = Previews(workspace, "me", "ticket", seconds=0)
    for index, shape in enumerate([(16, 32, 3), (4, 16, 16, 3), (200, 300, 3)]):
        pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        previews.started(0, index)
        for step in (1, 2):
            event = events.MediaProgress(
                modality=Modality.VIDEO, index=index, step=step, total=2, preview=lambda p=pixels: p
            )
            shown = previews.progress(event, 0)
        assert shown.seconds_left == 0
        assert shown.preview is not None
        with Image.open(shown.preview) as image:
            assert min(image.size) == max(128, min(shape[-3:-1]))
            assert getattr(image, "n_frames", 1) == (4 if len(shape) == 4 else 1)
    workspace.clear_previews("me", "ticket")
    assert not list((tmp_path / "me").rglob("*.png"))


def test_previews_are_no_more_than_wanted(tmp_path: Path) -> None:
    previews = Previews(Workspace(tmp_path), "me", "ticket", seconds=60)
    looked: list[int] = []

    def look(step: int) -> np.ndarray:
        looked.append(step)
        return np.zeros((8, 8, 3), np.uint8)

    for step in range(1, 6):
        event = events.MediaProgress(
            modality=Modality.IMAGE, index=0, step=step, total=5, preview=lambda step=step: look(step)
        )
        previews.progress(event, 0)
    assert looked == [1]


def test_memory_is_told() -> None:
    assert resident_bytes() > 1_000_000
