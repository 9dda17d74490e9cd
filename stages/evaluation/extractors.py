"""Features for distances between sets of media, each with a name that says what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygen.config import unknown_name
from anygen.errors import BadArgument, MissingPart
from anygen.media import Audio, Video
from anygen.modality import Modality

from .options import Graded

SIDE = 8
"""Pixels a side of a thumbnail."""
BANDS = 32
"""Bands of the spectrum of sounds."""


class Extractor(Protocol):
    """Turns media into vectors. Any object like this can be handed to `run_distance`."""

    @property
    def name(self) -> str:
        """What it is, version or checkpoint included; reports call distances by it."""
        ...

    @property
    def modalities(self) -> Sequence[Modality]:
        """What it takes."""
        ...

    def __call__(self, modality: Modality, media: Sequence[Any]) -> NDArray[np.floating[Any]]:
        """Features (n, d) of n media."""
        ...


class EncoderFeatures:
    """Unit-norm vectors of the graded model's own encoder.

    A model that was trained against its encoder is flattered by it: compare runs of one encoder alone.

    Args:
        model: Whose encoder.
    """

    modalities = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)

    def __init__(self, model: Graded) -> None:
        self._embedder = model.embedder
        self.name = f"{model.name} encoder"

    def __call__(self, modality: Modality, media: Sequence[Any]) -> NDArray[np.floating[Any]]:
        """Vectors (n, dim)."""
        return self._embedder.embed(**{str(modality): list(media)})[str(modality)]


class Thumbnails:
    """Pixels in 0..1 of images shrunk to 8 x 8; of videos, the mean over frames and of their changes."""

    name = f"{SIDE}x{SIDE} thumbnails"
    modalities = (Modality.IMAGE, Modality.VIDEO)

    def __init__(self, model: Graded | None = None) -> None:
        del model  # the same for every model

    def __call__(self, modality: Modality, media: Sequence[Any]) -> NDArray[np.floating[Any]]:
        """Features (n, 192) of images, (n, 384) of videos."""
        if modality is Modality.IMAGE:
            return np.stack([_thumbnail(image).ravel() for image in media])
        return np.stack([_film(video) for video in media])


def _thumbnail(image: Image.Image) -> NDArray[np.float64]:
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255


def _film(video: Video) -> NDArray[np.float64]:
    frames = np.stack([_thumbnail(Image.fromarray(frame)).ravel() for frame in video.frames])
    changes = np.abs(np.diff(frames, axis=0)).mean(axis=0) if len(frames) > 1 else np.zeros(frames.shape[1])
    return np.concatenate([frames.mean(axis=0), changes])


class Spectra:
    """Mean and deviation over time of the log power in 32 bands of equal width in mel, up to 8 kHz."""

    name = f"{BANDS}-band log spectra"
    modalities = (Modality.AUDIO,)

    def __init__(self, model: Graded | None = None) -> None:
        del model  # the same for every model

    def __call__(self, modality: Modality, media: Sequence[Any]) -> NDArray[np.floating[Any]]:
        """Features (n, 64)."""
        return np.stack([_spectrum(audio) for audio in media])


def _spectrum(audio: Audio, *, seconds: float = 0.032, top: float = 8000.0) -> NDArray[np.float64]:
    samples = np.asarray(audio.samples, np.float64).mean(axis=0)
    size = max(int(seconds * audio.sample_rate), 16)
    samples = np.pad(samples, (0, max(size - len(samples), 0)))
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2 / size
    hertz = np.fft.rfftfreq(size, 1 / audio.sample_rate)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + top / 700), BANDS + 1) / 2595) - 1)
    band = np.searchsorted(edges, hertz, side="right") - 1
    sums = np.stack([power[:, band == b].sum(axis=1) for b in range(BANDS)], axis=1)
    logs = np.log(sums + 1e-8)
    return np.concatenate([logs.mean(axis=0), logs.std(axis=0)])


EXTRACTORS: dict[str, Callable[[Graded], Extractor]] = {
    "encoder": EncoderFeatures,
    "thumbnails": Thumbnails,
    "spectra": Spectra,
}
"""Extractors by the names that options have; add one to offer it on the command line."""

INCEPTION_NAMES = ("fid", "kid", "fad", "fvd")
"""Names of distances by certain networks, which none of these is."""


def make_extractors(names: Sequence[str], model: Graded) -> list[Extractor]:
    """Extractors by name.

    Args:
        names: Of `EXTRACTORS`.
        model: Whose encoder "encoder" is.

    Raises:
        MissingPart: a name asks for a network that does not ship.
        BadArgument: any other unknown name.
    """
    for name in names:
        if name.lower() in INCEPTION_NAMES:
            raise MissingPart(
                f"Found extractor {name}, which stands for a network whose weights do not ship; expected "
                f"one of {', '.join(EXTRACTORS)}. Hand your own extractor to run_distance."
            )
        if name not in EXTRACTORS:
            raise BadArgument(unknown_name(name, EXTRACTORS, "an extractor"))
    return [EXTRACTORS[name](model) for name in names]
