"""What the encoder said of media before, by their content: a chat shows the same picture every turn."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

from PIL import Image
from torch import Tensor

from anygen.media import IMU, Audio, Depth, Thermal, Video
from anygen.modality import Modality

MOST_BYTES = 32 * 2**20
"""Most bytes of features that are kept: eight thousand pooled vectors at full size."""

_ARRAYS: dict[type, tuple[str, str]] = {
    Audio: ("samples", "sample_rate"),
    Video: ("frames", "fps"),
    Depth: ("meters", ""),
    Thermal: ("values", ""),
    IMU: ("samples", "sample_rate"),
}
"""Where the numbers of a medium are, and its rate."""


def content_key(modality: Modality, medium: Any) -> str | None:
    """A hash of all that the encoder can see of a medium.

    Args:
        modality: what it is encoded as.
        medium: a media object.

    Returns:
        Hexadecimal, or None for something else than a media object.
    """
    shape: tuple[object, object]
    if isinstance(medium, Image.Image):
        shape, data = (medium.mode, medium.size), medium.tobytes()
    elif type(medium) in _ARRAYS:
        numbers, rate = _ARRAYS[type(medium)]
        array = getattr(medium, numbers)
        shape, data = (array.shape, getattr(medium, rate, None)), array.tobytes()
    else:
        return None
    digest = hashlib.sha256(repr((str(modality), shape)).encode())
    digest.update(data)
    return digest.hexdigest()


class EncodedMedia:
    """Features by content; the ones longest unused go first. Threads may share it.

    Args:
        most_bytes: kept at once.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.hits = 0
        """Media that were found."""

    def find(self, key: str | None) -> Tensor | None:
        """The features of a medium, or None."""
        with self._lock:
            if key is None or key not in self._known:
                return None
            self._known.move_to_end(key)
            self.hits += 1
            return self._known[key]

    def keep(self, key: str | None, features: Tensor) -> None:
        """Remember features."""
        if key is None:
            return
        with self._lock:
            old = self._known.pop(key, None)
            self._bytes += _size(features) - (0 if old is None else _size(old))
            self._known[key] = features.clone()
            while self._bytes > self._most_bytes:
                self._bytes -= _size(self._known.popitem(last=False)[1])


def _size(features: Tensor) -> int:
    return features.numel() * features.element_size()
