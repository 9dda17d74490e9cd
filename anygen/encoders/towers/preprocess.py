"""Media and texts to the tensors that the towers take.

Images, frames, depth and heat go as in CLIP and LanguageBind: shorter side and centre crop, CLIP's mean and
deviation. Where the published preparation draws at random (chunks of long sounds, a mirrored video) the
middle of what could be drawn is taken, so that a medium always has the same vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, CLIPConfig

from anygen.config import read_json
from anygen.errors import BadMedia
from anygen.media import Audio, Depth, Thermal, Video
from anygen.modality import Modality
from anygen.parts import EncoderConfig

from ..imagebind.audio import clip_starts, log_mel, resample
from ..imagebind.text import check_text
from ..imagebind.vision import map_to_square, normalize_pixels, resize_and_crop
from .clip import OWN
from .values import read_values

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the RGB channels, where a folder's `preprocessor_config.json` says nothing else."""
NUM_FRAMES = 8
"""Frames of a video for towers that see them one by one."""
NUM_CLIPS = 3
"""Clips of a sound that is longer than a CLAP hears."""
DEPTH_RANGE = (0.01, 10.0)
"""Metres, clipped and divided by the larger (LanguageBind's depth preparation)."""
CLAP_TEXT_LENGTH = 77
"""Tokens of a text that CLAP was trained on."""


class TowersProcessor:
    """Prepares N media of one modality as one tensor.

    Args:
        config: the towers.
        find: from a tower's name to its folder.
    """

    def __init__(self, config: EncoderConfig, find: Callable[[str], Path]) -> None:
        self.config, self._find = config, find
        self._values: dict[str, dict[str, Any]] = {}
        self._tokenizers: dict[str, Any] = {}
        self._extractors: dict[str, Any] = {}
        self._statistics: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}

    def __call__(self, modality: Modality, items: Sequence[Any]) -> Tensor:
        """Prepare a batch.

        Args:
            modality: what the items are.
            items: N media objects (`PIL.Image`, `Audio`, `Video`, `Depth`, `Thermal`) or texts.

        Returns:
            The tensor that `TowersModel.encode` takes for this modality.

        Raises:
            MissingPart: no tower reads this.
            BadMedia: no items, or one of a wrong type.
            BadText: a text that is none.
        """
        self.config.half_names([modality])
        if len(items) == 0:
            raise BadMedia(f"Found no {modality} items; expected at least one.")
        readers = list(self.config.readers(modality))
        if modality is Modality.TEXT:
            return torch.cat([self._texts(name, items) for name in readers], dim=1)
        kind, prepare = self._media[modality]
        for item in items:
            if not isinstance(item, kind):
                raise BadMedia(f"Found an item of type {type(item).__name__}; expected {kind.__name__}.")
        return torch.stack([prepare(self, readers[0], item) for item in items])

    def text_length(self, name: str) -> int:
        """Tokens of a text for a tower."""
        values = self.values(name)
        if self.config.towers[name].family == "clip":
            return int(CLIPConfig.from_dict(values).text_config.max_position_embeddings)
        text = ClapConfig.from_dict(values).text_config
        return int(min(text.max_position_embeddings - text.pad_token_id - 1, CLAP_TEXT_LENGTH))

    def values(self, name: str) -> dict[str, Any]:
        """Contents of a tower's `config.json`. Raises MissingPart or CheckpointCorrupt."""
        if name not in self._values:
            self._values[name] = read_values(self._find(name), self.config.towers[name].family)
        return self._values[name]

    def _texts(self, name: str, items: Sequence[Any]) -> Tensor:
        for text in items:
            check_text(text)
        if name not in self._tokenizers:
            self._tokenizers[name] = AutoTokenizer.from_pretrained(self._find(name), local_files_only=True)
        rows = self._tokenizers[name](
            list(items), padding="max_length", truncation=True, max_length=self.text_length(name),
        )["input_ids"]  # fmt: skip
        return torch.tensor(rows)

    def _image(self, name: str, item: Image.Image) -> Tensor:
        return self._pixels(name, np.asarray(resize_and_crop(item.convert("RGB"), self._side(name))))

    def _video(self, name: str, item: Video) -> Tensor:
        own = self.values(name).get(OWN, {})
        count = own["num_frames"] if own.get("add_time_attn") else NUM_FRAMES
        picked = np.linspace(0, len(item.frames) - 1, count).astype(np.int64)
        return torch.stack([self._image(name, Image.fromarray(item.frames[i])) for i in picked])

    def _depth(self, name: str, item: Depth) -> Tensor:
        near, far = DEPTH_RANGE
        return self._map(name, np.clip(item.meters, near, far) / far)

    def _thermal(self, name: str, item: Thermal) -> Tensor:
        return self._map(name, item.values)

    def _map(self, name: str, values: np.ndarray) -> Tensor:
        """One channel in 0..1 as three equal ones."""
        square = map_to_square(values, self._side(name)).clip(0.0, 1.0)
        return self._pixels(name, np.repeat(square[..., None] * np.float32(255.0), 3, axis=-1))

    def _pixels(self, name: str, pixels: np.ndarray) -> Tensor:
        if name not in self._statistics:
            path = self._find(name) / "preprocessor_config.json"
            says = read_json(path) if path.is_file() else {}
            mean, std = says.get("image_mean") or CLIP_MEAN, says.get("image_std") or CLIP_STD
            self._statistics[name] = tuple(mean), tuple(std)
        return normalize_pixels(torch.from_numpy(pixels.copy()), *self._statistics[name]).permute(2, 0, 1)

    def _side(self, name: str) -> int:
        return int(CLIPConfig.from_dict(self.values(name)).vision_config.image_size)

    def _audio(self, name: str, item: Audio) -> Tensor:
        hear = self._clap_audio if self.config.towers[name].family == "clap" else self._bound_audio
        return hear(name, torch.from_numpy(np.ascontiguousarray(item.samples)), item.sample_rate)

    def _bound_audio(self, name: str, samples: Tensor, rate: int) -> Tensor:
        """LanguageBind's three chunks of log-mels as three channels (3, mel, frames)."""
        own = self.values(name)[OWN]
        target, frames = int(own.get("audio_sample_rate", 16000)), int(own["target_length"])
        wave = resample(samples, rate, target)
        mel = log_mel(wave[0] - wave.mean(), sample_rate=target, num_mel_bins=int(own["num_mel_bins"]))
        if mel.shape[1] < frames:
            mel = mel.repeat(1, math.ceil(frames / mel.shape[1]))[:, :frames]
        thirds = np.array_split(np.arange(mel.shape[1] - frames + 1), 3)
        starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
        chunks = torch.stack([mel[:, start : start + frames] for start in starts])
        return (chunks - own.get("audio_mean", -4.2677393)) / (2 * own.get("audio_std", 4.5689974))

    def _clap_audio(self, name: str, samples: Tensor, rate: int) -> Tensor:
        """Log-mels (S, C, frames, mel) of the clips of a sound."""
        if name not in self._extractors:
            source = self._find(name)
            self._extractors[name] = ClapFeatureExtractor.from_pretrained(source, local_files_only=True)
        extractor = self._extractors[name]
        length = int(extractor.nb_max_samples)
        wave = resample(samples.mean(0, keepdim=True), rate, extractor.sampling_rate)[0].numpy()
        starts = clip_starts(len(wave) / length, clip_seconds=1.0, num_clips=NUM_CLIPS)
        clips = [wave[int(start * length) :][:length] for start in dict.fromkeys(starts)]
        found = extractor(clips, sampling_rate=extractor.sampling_rate, return_tensors="np")["input_features"]
        mels = torch.from_numpy(np.asarray(found, dtype=np.float32))
        return mels.expand(NUM_CLIPS, *mels.shape[1:]) if len(mels) == 1 else mels

    _media: Mapping[Modality, tuple[type, Callable[[TowersProcessor, str, Any], Tensor]]] = {
        Modality.IMAGE: (Image.Image, _image),
        Modality.VIDEO: (Video, _video),
        Modality.AUDIO: (Audio, _audio),
        Modality.DEPTH: (Depth, _depth),
        Modality.THERMAL: (Thermal, _thermal),
    }
