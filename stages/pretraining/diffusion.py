"""Pretrains the latent-diffusion UNets of the bundle over a frozen autoencoder and a frozen text encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoTokenizer, ClapTextModelWithProjection, CLIPTextModel

from anygen.decoders.base import ConditioningSpec
from anygen.decoders.build import build_audio_unet, build_image_unet, build_scheduler, build_video_unet
from anygen.decoders.denoising import denoising_loss
from anygen.decoders.inflate import init_video_from_image
from anygen.decoders.mel import log_mel
from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox import sound, visual
from anygen.toybox.scene import Scene, sample_scene

from .text_encoder import drawn_caption, embed_texts, random_subset


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Which decoder's UNet to train, how wide, and on what."""

    modality: Modality
    """image, audio or video."""
    autoencoder: Path
    """Folder of the frozen autoencoder."""
    text_encoder: Path
    """Folder with `text_encoder/` and `tokenizer/`, frozen."""
    block_out_channels: tuple[int, ...]
    """UNet widths, finest level first."""
    bank_size: int
    """Scenes rendered and encoded once before training."""
    image_unet: Path | None = None
    """Image UNet whose spatial layers a video UNet starts from."""
    object_weight: float = 4.0
    """Weight of the latents that the object covers in the denoising loss; the optimum stays the same."""
    unconditional: float = 0.1
    """Share of samples with the empty caption, for classifier-free guidance (Ho and Salimans 2022)."""
    seed: int = 0
    """Initialisation, scenes and captions."""


@dataclass(frozen=True)
class _Medium:
    """What differs between the three decoders before the UNet is called."""

    draw: Callable[[list[Scene], np.random.Generator], Tensor]
    """Scenes to autoencoder input, (n, channels, h, w), or (n, frames, channels, h, w) for films."""
    build: Callable[..., nn.Module]
    text_encoder: Any
    spec: Callable[[int, int], ConditioningSpec]
    chunk: int
    """Scenes that are encoded at once."""


def _pictures(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(visual.image_batch(scenes, rng=rng)).movedim(-1, 1).float() / 127.5 - 1


def _films(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(visual.video_batch(scenes, rng=rng)).movedim(-1, 2).float() / 127.5 - 1


def _sounds(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    return log_mel(torch.from_numpy(sound.sound_batch(scenes, rng=rng)))[:, None]


def _cross_attention(tokens: int, width: int) -> ConditioningSpec:
    return ConditioningSpec(tokens=tokens, width=width)


def _class_label(_: int, width: int) -> ConditioningSpec:
    return ConditioningSpec(tokens=1, width=width, normalised=True, entry="class_labels")


MEDIA: dict[Modality, _Medium] = {
    Modality.IMAGE: _Medium(_pictures, build_image_unet, CLIPTextModel, _cross_attention, 64),
    Modality.VIDEO: _Medium(_films, build_video_unet, CLIPTextModel, _cross_attention, 8),
    Modality.AUDIO: _Medium(_sounds, build_audio_unet, ClapTextModelWithProjection, _class_label, 64),
}


class DiffusionStage:
    """The denoising loss on a bank of latents, captions drawn anew each time a scene is seen."""

    def __init__(self, config: DiffusionConfig, cache: Path) -> None:
        """Load the frozen parts, build the UNet and encode the bank (or read it from `cache`)."""
        self.config, self.medium = config, MEDIA[config.modality]
        self.name, self.dataset_size = f"{config.modality}-diffusion", config.bank_size
        self.autoencoder = AutoencoderKL.from_pretrained(config.autoencoder).eval()
        self.text_encoder = self.medium.text_encoder.from_pretrained(config.text_encoder / "text_encoder").eval()
        self.tokenizer = AutoTokenizer.from_pretrained(config.text_encoder / "tokenizer")
        self.scheduler = build_scheduler()
        self.spec = self.medium.spec(self.tokenizer.model_max_length, self.text_encoder.config.hidden_size)
        rng = np.random.default_rng((config.seed, 5))
        self.scenes = [sample_scene(rng) for _ in range(config.bank_size)]
        self.latents, self.masks = self._bank(cache)
        torch.manual_seed(config.seed)
        self.unet = self._build()

    def _build(self) -> nn.Module:
        shape = {
            "latent_channels": self.latents.shape[1],
            "block_out_channels": self.config.block_out_channels,
            "sample_size": self.latents.shape[-1],
        }
        if self.config.modality is Modality.AUDIO:
            return self.medium.build(**shape, class_embed_dim=self.spec.width)
        unet = self.medium.build(**shape, cross_attention_dim=self.spec.width)
        if self.config.image_unet is not None:
            if self.config.modality is not Modality.VIDEO:
                raise BadArgument("Found image_unet for another modality; only a video UNet starts from one. Leave it out.")
            init_video_from_image(UNet2DConditionModel.from_pretrained(self.config.image_unet), unet)
        return unet

    def _bank(self, cache: Path) -> tuple[Tensor, Tensor]:
        """Half-precision latents (n, C, [F,] h, w) of unit variance and object masks (n, 1, [F,] h, w)."""
        if cache.exists():
            from safetensors.torch import load_file

            stored = load_file(cache)
            return stored["latents"], stored["masks"]
        latents, masks = [], []
        with torch.no_grad():
            for start in range(0, len(self.scenes), self.medium.chunk):
                rng = np.random.default_rng((self.config.seed, 6, start))
                data = self.medium.draw(self.scenes[start : start + self.medium.chunk], rng)
                frames = data.flatten(0, 1) if data.ndim == 5 else data
                encoded = self.autoencoder.encode(frames).latent_dist.mode() * self.autoencoder.config.scaling_factor
                mask = _object_mask(frames, encoded.shape[-2:])
                if data.ndim == 5:  # films: (n f, C, h, w) to (n, C, f, h, w)
                    encoded, mask = (x.unflatten(0, data.shape[:2]).movedim(1, 2) for x in (encoded, mask))
                latents.append(encoded.half())
                masks.append(mask.half())
        bank = {"latents": torch.cat(latents).contiguous(), "masks": torch.cat(masks).contiguous()}
        from safetensors.torch import save_file

        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(bank, cache)
        return bank["latents"], bank["masks"]

    def modules(self) -> dict[str, nn.Module]:
        """The UNet and the frozen text encoder; the autoencoder has done its work in the bank."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """The UNet."""
        return [{"params": list(self.unet.parameters())}]

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Latents, masks and captions of the scenes at `indices`."""
        captions = []
        for index in indices:
            rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
            named = random_subset(self.scenes[index].revealed(self.config.modality), rng)
            captions.append("" if rng.random() < self.config.unconditional else drawn_caption(named, rng, 0.7))
        rows = torch.from_numpy(indices)
        return {"latents": self.latents[rows].float(), "masks": self.masks[rows].float(), "captions": captions}

    def training_forward(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The denoising loss, object weighted."""
        with torch.no_grad():
            embeds = embed_texts(self.text_encoder, self.tokenizer, batch["captions"])
        loss = denoising_loss(
            self.unet,
            self.scheduler,
            batch["latents"],
            embeds,
            self.spec,
            generator=torch.Generator().manual_seed(int(torch.randint(2**62, ()).item())),
            weights=1 + (self.config.object_weight - 1) * batch["masks"],
        )
        return {"loss": loss}, {}

    def evaluate(self) -> dict[str, float]:
        """The loss on held-out scenes at fixed noise; samples are graded by `anygen eval toybox`."""
        return {}

    def save(self, folder: Path) -> None:
        """UNet and scheduler in diffusers' layout."""
        self.unet.save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")


def _object_mask(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """1 at the latents that the object touches, (n, 1, h, w); spectrograms have no background, so all ones."""
    if frames.shape[1] == 1:
        return torch.ones(len(frames), 1, *size)
    away = (frames - frames[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.02
    return F.adaptive_max_pool2d(away.float(), size)
