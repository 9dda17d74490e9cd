"""A frozen decoder's denoising loss on a data set's own media, under projected conditioning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from anygen.decoders.denoising import denoising_loss
from anygen.decoders.mel import HOP, SAMPLE_RATE, log_mel
from anygen.encoders.imagebind.audio import resample
from anygen.media import Audio, Video
from anygen.modality import Modality
from anygen.model import ModelOutput

from ..system import Group, System
from .conversations import At
from .records import MediaOut, located
from .sources import load


def _pixels(image: Image.Image, defaults: Any) -> Tensor:
    """(3, H, W) in [-1, 1] at the decoder's own size, cropped in the middle."""
    fitted = ImageOps.fit(image.convert("RGB"), (defaults.width, defaults.height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1).float() / 127.5 - 1


def _frames(video: Video, defaults: Any) -> Tensor:
    """(F, 3, H, W) in [-1, 1], frames taken evenly from the whole clip."""
    picked = np.linspace(0, len(video.frames) - 1, defaults.num_frames).round().astype(int)
    return torch.stack([_pixels(Image.fromarray(video.frames[i]), defaults) for i in picked])


def _mel(audio: Audio, defaults: Any, factor: int) -> Tensor:
    """(T, bins) log-mels of the beginning, silence behind what is too short."""
    wave = resample(torch.from_numpy(audio.samples).mean(0, keepdim=True), audio.sample_rate, SAMPLE_RATE)
    frames = max(int(defaults.audio_length_in_s * SAMPLE_RATE) // (HOP * factor), 1) * factor
    wave = functional.pad(wave, (0, max(0, frames * HOP - wave.shape[1])))[:, : frames * HOP]
    return log_mel(wave)[0]


PREPARE: dict[Modality, Callable[[Any, Any, int], Tensor]] = {
    Modality.IMAGE: lambda media, defaults, factor: _pixels(media, defaults),
    Modality.VIDEO: lambda media, defaults, factor: _frames(media, defaults),
    Modality.AUDIO: _mel,
}
"""From a medium to what the decoder's `encode` takes, by modality."""


class RecordLatents:
    """Latents of media that answers show, and the UNet that judges a conditioning by them.

    Args:
        modality: What the decoder makes.
        decoder: The decoder; frozen.
        samples: Most signals per step that the loss is taken on.
        capacity: Most latents kept in memory.
    """

    def __init__(self, modality: Modality, decoder: Any, *, samples: int = 8, capacity: int) -> None:
        self.modality, self._decoder, self._samples, self._capacity = modality, decoder, samples, capacity
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def unet(self) -> nn.Module:
        """The frozen UNet, a module of the stage."""
        unet: nn.Module = self._decoder.parts.unet
        return unet

    def loss(self, system: System, groups: Sequence[Group], outputs: Sequence[ModelOutput]) -> Tensor | None:
        """The loss on the first signals of this step whose media are known; None where there are none.

        Raises:
            BadMedia: A medium cannot be read; its entry is named.
        """
        states: list[Tensor] = []
        embeds: list[Tensor] = []
        latents: list[Tensor] = []
        for group, output in zip(groups, outputs, strict=True):
            targets: list[At] = [p.item for p in group.prompts.signals if p.modality is self.modality]
            for row, target in enumerate(targets):
                if len(latents) < self._samples and self._shows(target):
                    latents.append(self._latents(target))
                    states.append(output.signal_states[self.modality][row])
                    embeds.append(output.signal_embeds[self.modality][row])
        if not latents:
            return None
        projected = system.model.project(self.modality, torch.stack(states), torch.stack(embeds))
        return denoising_loss(
            self.unet,
            self._decoder.parts.scheduler,
            torch.stack(latents).to(projected.device),
            projected,
            self._decoder.spec,
            generator=torch.Generator().manual_seed(int(torch.randint(2**62, ()).item())),
        )

    def _shows(self, target: At) -> bool:
        return target.medium.source is not None

    def latents(self, target: At) -> Tensor | None:
        """The latents of what a signal is to show; None where only its caption is known."""
        return self._latents(target) if self._shows(target) else None

    def _latents(self, target: At) -> Tensor:
        medium, parts = target.medium, self._decoder.parts
        assert isinstance(medium, MediaOut) and medium.source is not None
        if medium.source.key in self._known:
            return self._known[medium.source.key]
        with located(target.place):
            media = load(self.modality, medium.source)
        prepared = PREPARE[self.modality](media, parts.defaults, parts.vae_factor)
        with torch.no_grad():
            latents: Tensor = self._decoder.encode(prepared[None].to(parts.device))[0].cpu()
        self._known[medium.source.key] = latents
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return latents
