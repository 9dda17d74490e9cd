"""Pretrains the picture and spectrogram autoencoders that the diffusion models work in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from anygen.decoders.build import build_autoencoder
from anygen.decoders.mel import log_mel
from anygen.modality import Modality
from anygen.toybox import sound, visual
from anygen.toybox.scene import REVEALS, Scene, sample_scene

WIDE_JITTER = 1.0
"""Objects anywhere in the frame: films and strangers' pictures need that of the autoencoder."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """What the autoencoder encodes and how wide it is."""

    kind: Literal["picture", "spectrogram"]
    """Pictures in [-1, 1], or raw log-mel frames as AudioLDM's autoencoder takes them."""
    block_out_channels: tuple[int, ...]
    """Width of each level, finest first."""
    latent_channels: int
    """Channels of the latents."""
    object_weight: float = 5.0
    """Loss weight of the object's pixels over the background's: small objects are what an autoencoder blurs
    first. In spectrograms, of the audible bins over the rest: a tremolo is a ripple of a few decibels on one
    bright line."""
    loudness_weight: float = 0.0
    """Weight of the error of each frame's loudness and of its change, for spectrograms: a tremolo is little
    in any one bin and all there is in the loudness."""
    kl_weight: float = 1e-5
    """Weight of the Kullback-Leibler term per latent, small as in latent diffusion."""
    crop_frames: int | None = None
    """Frames of a random part of each spectrogram to train on; None takes all."""
    seed: int = 0
    """Numbers the training samples."""


AUDIBLE = -4.0
"""Log-mel magnitude, about 50 dB below the loudest tone, above which a bin counts as the object."""


def pictures(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """(n, 3, 64, 64) pictures in [-1, 1]."""
    drawn = visual.image_batch(scenes, rng=rng, jitter=WIDE_JITTER)
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def spectrograms(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """(n, 1, frames, 64) log-mels."""
    return log_mel(torch.from_numpy(sound.sound_batch(scenes, rng=rng)))[:, None]


SOURCES: dict[str, Any] = {"picture": pictures, "spectrogram": spectrograms}
STATISTICS = {"picture": (0.0, 1.0), "spectrogram": (-7.0, 3.5)}
"""Rough mean and standard deviation of the data, for the first and last layer's initial scale alone."""


class AutoencoderStage:
    """Reconstruction (L1 + L2, object weighted) with a small KL term (Rombach et al. 2022, section 3.1)."""

    dataset_size = None

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.name = f"{config.kind}-autoencoder"
        torch.manual_seed(config.seed)
        mean, std = STATISTICS[config.kind]
        self.model = build_autoencoder(
            channels=3 if config.kind == "picture" else 1,
            block_out_channels=config.block_out_channels,
            latent_channels=config.latent_channels,
            data_mean=mean,
            data_std=std,
        )
        self._std = std

    def modules(self) -> dict[str, nn.Module]:
        """The autoencoder."""
        return {"autoencoder": self.model}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """All of it."""
        return [{"params": list(self.model.parameters())}]

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """Rendered scenes, (n, channels, height, width), or parts of them."""
        rng = np.random.default_rng((self.config.seed, int(indices[0])))
        whole = SOURCES[self.config.kind]([sample_scene(rng) for _ in indices], rng)
        frames = self.config.crop_frames
        if frames is None:
            return whole
        starts = rng.integers(0, whole.shape[2] - frames + 1, len(whole))
        return torch.stack([x[:, s : s + frames] for x, s in zip(whole, starts, strict=True)])

    def training_forward(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Weighted reconstruction error plus the KL term, in units of the data's standard deviation."""
        posterior = self.model.encode(batch).latent_dist
        decoded = self.model.decode(posterior.sample()).sample
        error = (decoded - batch) / self._std
        weights = self._weights(batch)
        reconstruction = ((error.abs() + error.square()) * weights).mean() / weights.mean()
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        losses = {"reconstruction": reconstruction, "kl": kl}
        total = reconstruction + self.config.kl_weight * kl
        if self.config.loudness_weight:
            losses["loudness"] = loudness_error(decoded, batch)
            total = total + self.config.loudness_weight * losses["loudness"]
        return {"loss": total, **losses}, {}

    def _weights(self, batch: Tensor) -> Tensor:
        if self.config.kind == "spectrogram":
            mask = (batch > AUDIBLE).float()
        else:
            background = batch[:, :, :1, :1]  # the corner pixel: objects keep clear of the frame
            mask = ((batch - background).abs().amax(1, keepdim=True) > 0.02).float()
            mask = F.max_pool2d(mask, 3, stride=1, padding=1)
        return 1 + (self.config.object_weight - 1) * mask

    def evaluate(self) -> dict[str, float]:
        """Error on fresh scenes; for pictures also the share of attributes that the oracle reads."""
        from anygen.stages.evaluation.grade import grade

        scores = {}
        for group, held_out in (("seen", False), ("held_out", True)):
            rng = np.random.default_rng((self.config.seed + 1, 7, held_out))
            scenes = [sample_scene(rng, held_out=held_out) for _ in range(128)]
            batch = SOURCES[self.config.kind](scenes, rng)
            decoded = self.model.decode(self.model.encode(batch).latent_dist.mode()).sample
            scores[f"{group}/l1"] = float((decoded - batch).abs().mean())
            if self.config.kind == "picture":
                images = [Image.fromarray(to_uint8(x)) for x in decoded]
                expected = [s.revealed(Modality.IMAGE) for s in scenes]
                for name, (right, count) in grade(Modality.IMAGE, images, expected).items():
                    if name in REVEALS[Modality.IMAGE]:
                        scores[f"{group}/{name}"] = right / count
        return scores

    def save(self, folder: Path) -> None:
        """Fix the latents' scale to unit variance and write the autoencoder in diffusers' layout."""
        rng = np.random.default_rng((self.config.seed + 1, 11))
        batch = SOURCES[self.config.kind]([sample_scene(rng) for _ in range(256)], rng)
        with torch.no_grad():
            spread = torch.cat([self.model.encode(x).latent_dist.mode() for x in batch.split(32)]).std()
        self.model.register_to_config(scaling_factor=float(1 / spread))
        self.model.save_pretrained(folder)


def loudness_error(decoded: Tensor, wanted: Tensor) -> Tensor:
    """L1 of the frames' log loudness and of its change from frame to frame, for (n, 1, frames, bins)."""
    difference = decoded.logsumexp(dim=-1) - wanted.logsumexp(dim=-1)
    return difference.abs().mean() + difference.diff(dim=-1).abs().mean()


def to_uint8(picture: Tensor) -> NDArray[np.uint8]:
    """(3, h, w) in [-1, 1] to (h, w, 3) bytes."""
    return ((picture.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
