"""What suites show a model: toybox scenes, or the entries of a data set. Media are made when needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox.captions import caption
from anygen.toybox.render import render
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene, sample_scene

TOYBOX = "toybox"
"""Name of the procedural data."""
CAPTION = "caption"
"""The one label of an item of one's own: its caption is its class."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing in several modalities."""

    media: Mapping[Modality, Callable[[], Any]]
    """What makes or reads each medium."""
    captions: tuple[str, ...]
    """What all of the media show, in one or several wordings."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Name of a question to its answer."""


class Embedder(Protocol):
    """What embeds; `EmbeddingPipeline` is one."""

    def embed(self, **items: Any) -> dict[str, NDArray[np.float32]]:
        """Unit-norm vectors (n, dim) of the items of each modality."""


def toybox_items(
    modalities: Sequence[Modality], count: int, *, seed: int, wordings: int = 5, stream: int = 0
) -> list[Item]:
    """Seen scenes, clean renderings.

    Args:
        modalities: Media of each item; its captions and labels are what all of them show.
        count: Number of items.
        seed: Draws scenes, renderings and words; item i does not depend on the count.
        wordings: Captions of each item; the first is the canonical one.
        stream: Another number gives other items.
    """
    names = [n for n in ATTRIBUTES if all(n in REVEALS[m] for m in modalities)]
    items = []
    for index in range(count):
        rng = np.random.default_rng((seed, 31, stream, index))
        shown: dict[str, str] = {}
        while not shown:  # a thing that does not move shows an IMU no size
            scene = sample_scene(rng)
            shown = {n: getattr(scene, n) for n in names if all(n in scene.revealed(m) for m in modalities)}
        texts = [caption(shown), *(caption(shown, rng) for _ in range(wordings - 1))]
        media: dict[Modality, Callable[[], Any]] = {
            m: partial(_render, scene, m, (seed, 32, stream, index, place))
            for place, m in enumerate(Modality)
            if m in modalities and m is not Modality.TEXT
        }
        items.append(Item(media=media, captions=tuple(texts), labels=shown))
    return items


def _render(scene: Scene, modality: Modality, key: tuple[int, ...]) -> Any:
    return render(scene, modality, rng=np.random.default_rng(key))


def own_items(path: str | Path, modalities: Sequence[Modality], count: int | None = None) -> list[Item]:
    """Entries of a data set that have a caption and all of some media.

    Entries with the same media are one item with several captions.

    Args:
        path: What `anygen data check` reads: a manifest, a folder, a tar.
        modalities: Media that an entry must have.
        count: Most items; None for all.

    Raises:
        BadArgument: an entry is bad, or none has what is asked for.
    """
    from ..data.check import load_records
    from ..data.readers import SourceConfig
    from ..data.sources import load

    found: dict[tuple[str, ...], Item] = {}
    for record in load_records([SourceConfig(path=str(path))]):
        sources = {m.modality: m for m in reversed(record.media) if m.source is not None}
        text = record.caption or next((out.caption for out in record.outputs), None)
        if not text or any(m not in sources for m in modalities):
            continue
        key = tuple(sources[m].source.key for m in modalities)
        earlier = found[key].captions if key in found else ()
        media = {m: partial(load, m, sources[m].source, None, rate=sources[m].rate) for m in modalities}
        captions = tuple(dict.fromkeys((*earlier, text)))
        found[key] = Item(media=media, captions=captions, labels={CAPTION: captions[0]})
    if not found:
        raise BadArgument(
            f"Found no entry of {Path(path).name} with a caption and {', '.join(modalities)}; "
            "expected one at least."
        )
    return list(found.values())[:count]


def embed_items(
    embedder: Embedder, modality: Modality, items: Sequence[Item], *, chunk: int = 32
) -> NDArray[np.float32]:
    """Unit-norm vectors (n, dim) of one medium of every item; of their first captions for text.

    Args:
        embedder: The encoder.
        modality: Which medium.
        items: What has it.
        chunk: Media in memory at a time.
    """
    if modality is Modality.TEXT:
        return embedder.embed(text=[item.captions[0] for item in items])["text"]
    parts = []
    for start in range(0, len(items), chunk):
        media = [item.media[modality]() for item in items[start : start + chunk]]
        parts.append(embedder.embed(**{str(modality): media})[str(modality)])
    return np.concatenate(parts)
