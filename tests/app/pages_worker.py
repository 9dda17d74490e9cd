"""Stands in for the engine process behind the pages: quick vectors, and a picture for every blend."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from typing import Any

import numpy as np
from PIL import Image

from anygen.app.engine.child import channel
from anygen.app.engine.types import (
    Answer,
    Cancelled,
    Done,
    Event,
    Failed,
    MediaFinished,
    MediaProgress,
    Started,
    to_json,
)
from anygen.app.engine.workspace import Workspace
from anygen.app.media_tags import InputTag, MediaTags
from anygen.config import to_json as tags_to_json
from anygen.modality import Modality

FACTS = {
    "name": "toybox-tiny",
    "description": "A model for tests.",
    "device": "cpu",
    "device_name": "CPU",
    "threads": 1,
    "dtype": "float32",
    "inputs": ["text", "image", "audio"],
    "outputs": ["text", "image"],
    "embeds": ["text", "image", "audio"],
    "options": {"image": {"num_inference_steps": 25, "guidance_scale": 3.0}},
}


def vector(item: dict[str, Any]) -> np.ndarray:
    """A unit vector that depends on nothing but the item."""
    name = str(item.get("media_id") or item["text"])
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    values = np.random.default_rng(seed).normal(size=16)
    return values / np.linalg.norm(values)


def main() -> None:
    orders, send = channel()
    work: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    asked: set[str] = set()

    def read() -> None:
        for order in orders:
            if order["do"] == "cancel":
                asked.add(order["ticket"])
            else:
                work.put(order)

    threading.Thread(target=read, daemon=True).start()
    order = work.get()
    while order["do"] != "load":
        order = work.get()
    workspace = Workspace(order["workspace"])
    send({"say": "ready", "facts": FACTS})
    while True:
        order = work.get()
        if order["do"] == "run":
            for event in answer(order["request"], workspace, order["ticket"], asked):
                send({"say": "event", "ticket": order["ticket"], "event": to_json(event)})


def answer(request: dict[str, Any], workspace: Workspace, ticket: str, asked: set[str]) -> list[Event]:
    """What a request gives."""
    if request["kind"] == "EmbedRequest":
        return [Started(), Done(vectors=[vector(item).tolist() for item in request["items"]])]
    if any(item.get("text") == "break" for item in request["items"]):
        return [Started(), Failed(sentence="the blend broke; change a weight", code="bad", details="why")]
    if any(item.get("text") == "wait" for item in request["items"]):
        while ticket not in asked:
            time.sleep(0.01)
        return [Started(), Cancelled()]
    tags = MediaTags(
        model="toybox-tiny",
        modality=Modality.IMAGE,
        seed=request["seed"],
        options=request["options"],
        inputs=tuple(
            InputTag(modality=Modality(item["type"]), weight=weight)
            for item, weight in zip(request["items"], request["weights"], strict=True)
        ),
        blended=True,
    )
    media = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    stored = workspace.add(request["session"], media, tags=tags.metadata())
    part = {"type": "image", "media_id": stored.id}
    finished = MediaFinished(
        modality="image",
        index=0,
        media_id=stored.id,
        path=str(stored.path),
        mime=stored.mime,
        settings=tags_to_json(tags),
    )
    step = MediaProgress(modality="image", index=0, step=1, total=2)
    return [Started(), step, finished, Done(answers=[Answer(parts=[part], seed=request["seed"])])]


if __name__ == "__main__":
    main()
