"""What every decoder promises, and how its conditioning is described as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadArgument
from ..modality import Modality

ENTRIES = ("encoder_hidden_states", "class_labels")
"""UNet arguments that take conditioning: cross-attention tokens, or a vector beside the timestep."""


@dataclass(frozen=True, kw_only=True)
class ConditioningSpec:
    """Which conditioning a decoder takes; a newer decoder is a new spec, not a new code path."""

    tokens: int
    """Length L of the conditioning sequence; 1 where the UNet takes a single vector."""
    width: int
    """Width D of each token."""
    normalised: bool = False
    """Whether each token has unit L2 norm (CLAP embeddings do, CLIP hidden states do not)."""
    entry: str = "encoder_hidden_states"
    """Where it enters the UNet, one of ENTRIES."""
    norm: float = 1.0
    """The L2 norm meant by `normalised`: 1 for CLAP, what the normalizer was fitted to for StableUnCLIP."""
    pooled: int = 0
    """Width of a pooled vector that is the head of the last token (SDXL's `text_embeds`); 0 without one."""
    size_ids: int = 0
    """Pixels a latent position, where the UNet is told the size of the picture (SDXL); 0 where it is not."""
    coordinates: int = 0
    """Input channels behind the latents that tell each position where it lies, one for each of the first so
    many axes after the channels: 1 is the time of a film or a sound, 2 the pitch of a sound as well, 3 time,
    height and width of a film."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            BadArgument: A size is not positive, the entry is unknown, or a vector has several tokens.
        """
        if self.tokens < 1 or self.width < 1:
            raise BadArgument(
                f"conditioning size: found {self.tokens} x {self.width}, expected positive numbers; "
                "fix the spec"
            )
        if self.entry not in ENTRIES:
            raise BadArgument(
                f"conditioning entry: found {self.entry!r}, expected one of {', '.join(ENTRIES)}; "
                "fix the spec"
            )
        if self.entry == "class_labels" and self.tokens != 1:
            raise BadArgument(
                f"conditioning tokens: found {self.tokens}, expected 1 for class_labels; fix the spec"
            )
        if not 0 <= self.pooled <= self.width or (self.pooled and self.tokens < 2):
            raise BadArgument(
                f"pooled conditioning: found {self.pooled} in {self.tokens} x {self.width}, expected at most "
                "the width and a token beside it; fix the spec"
            )
        if not self.norm > 0 or self.size_ids < 0:
            raise BadArgument(
                f"conditioning norm and size_ids: found {self.norm} and {self.size_ids}, expected a positive "
                "and a non-negative number; fix the spec"
            )
        if not 0 <= self.coordinates <= 3:
            raise BadArgument(
                f"conditioning coordinates: found {self.coordinates}, expected 0 to 3 axes; fix the spec"
            )

    def fit(self, prompt_embeds: Tensor, like: Tensor | None = None) -> Tensor:
        """Check embeddings against this spec and give them as (B, tokens, width), normalised if it says so.

        Args:
            prompt_embeds: (B, tokens, width), or (B, width) where tokens is 1.
            like: Tensor whose device and type the result takes; None keeps its own.

        Returns:
            (B, tokens, width), differentiable. Normalising what already has that norm changes nothing.

        Raises:
            BadArgument: The shape does not match.
        """
        embeds = prompt_embeds.unsqueeze(1) if prompt_embeds.ndim == 2 and self.tokens == 1 else prompt_embeds
        if embeds.ndim != 3 or embeds.shape[1:] != (self.tokens, self.width):
            raise BadArgument(
                f"prompt_embeds: found shape {tuple(prompt_embeds.shape)}, expected "
                f"(batch, {self.tokens}, {self.width}); use this decoder's output projection"
            )
        if like is not None:
            embeds = embeds.to(device=like.device, dtype=like.dtype)
        if not self.normalised:
            return embeds
        unit = F.normalize(embeds, dim=-1)
        return unit if self.norm == 1.0 else unit * self.norm

    def network_input(self, sample: Tensor, places: Tensor | None = None) -> Tensor:
        """Latents as the network takes them: with their coordinates behind, if the spec has any.

        A convolution cannot tell where it is, so a network learns "fades out" or "moves left" only from how
        far its sides are; coordinate channels say it (CoordConv, Liu et al. 2018, section 3).

        Args:
            sample: (B, C, ...) noisy latents.
            places: (B, n) first coordinates of samples that are one position of a whole along their first n
                axes, such as a frame of a film. The others, and all where it is None, count from -1 at the
                first position of an axis to 1 at the last.

        Returns:
            (B, C + coordinates, ...) of the type of `sample`.
        """
        if not self.coordinates:
            return sample
        channels, shape = [sample], (len(sample), 1, *sample.shape[2:])
        if places is not None:
            given = places.to(sample).view(*places.shape, *[1] * (sample.ndim - 2))
            channels.append(given.expand(-1, -1, *sample.shape[2:]))
        for axis in range(2, 2 + self.coordinates - (0 if places is None else places.shape[1])):
            ramp = torch.linspace(-1, 1, sample.shape[axis], device=sample.device, dtype=sample.dtype)
            channels.append(ramp.view(-1, *[1] * (sample.ndim - axis - 1)).expand(shape))
        return torch.cat(channels, dim=1)

    def arguments(self, embeds: Tensor, sample: Tensor) -> dict[str, Tensor]:
        """What fitted embeddings are to the network: its keyword arguments.

        Args:
            embeds: (B, tokens, width) of `fit`.
            sample: (..., h, w) latents, for what depends on their size.

        Returns:
            Tensors with B rows. `text_embeds` and `time_ids` (height, width, top and left of the crop,
            height, width, in pixels) belong into diffusers' `added_cond_kwargs`.
        """
        if self.entry == "class_labels":
            return {"class_labels": embeds[:, 0]}
        if not self.pooled:
            return {"encoder_hidden_states": embeds}
        given = {"encoder_hidden_states": embeds[:, :-1], "text_embeds": embeds[:, -1, : self.pooled]}
        if self.size_ids:
            height, width = (side * self.size_ids for side in sample.shape[-2:])
            ids = torch.tensor([height, width, 0, 0, height, width]).to(embeds)
            given["time_ids"] = ids.expand(len(embeds), -1)
        return given


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """One denoising step has ended."""

    step: int
    """Steps done so far, 1 .. total."""
    total: int
    """Steps in all: scheduler calls, which PNDM makes one more of than the steps asked for."""
    preview: Callable[[], list[np.ndarray]]
    """Cheap look at what is coming, computed when called and only valid until the callback returns.

    One uint8 array a sample: (h, w, 3) for image and audio (the spectrogram), (t, h, w, 3) for video.
    """


OnStep = Callable[[StepEvent], None]
"""Progress callback; what it raises ends the run and reaches the caller unchanged."""


@runtime_checkable
class Decoder(Protocol):
    """From conditioning to media. Image, audio and video decoders all look like this."""

    modality: Modality
    """What comes out."""
    spec: ConditioningSpec
    """What goes in."""

    def __call__(self, prompt_embeds: Tensor, *, seeds: Sequence[int], **options: Any) -> list[Any]:
        """Generate one medium for each row of `prompt_embeds` (B, tokens, width)."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """(B, tokens, width) embeddings of the frozen text encoder: the targets of decoder alignment."""
        ...

    def save_pretrained(self, folder: str) -> None:
        """Write the decoder in diffusers' folder layout."""
        ...
