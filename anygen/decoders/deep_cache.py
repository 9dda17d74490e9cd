"""Deep features of a UNet, kept over neighbouring denoising steps: faster sampling without training.

The idea is DeepCache's (Ma et al. 2023): from one step to the next the deep, coarse features of a UNet
hardly change, while the shallow ones that draw the details do. Every `interval`-th call computes the whole
network and keeps what enters the last `depth` layers of the way up; the calls between compute only the first
layers of the way down, whose outputs those last layers need as skip connections, and then those last layers.

Nothing is hooked into the network and nothing in it changes, so threads can share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadArgument
from .defaults import MAX_INTERVAL

NETWORKS = ("UNet2DConditionModel", "UNet3DConditionModel")
"""Networks that have a way down and a way up."""
DEPTH = 2
"""Layers of the way up that every call computes: 1 reuses the most, more follow the sample closer."""


@dataclass(frozen=True)
class _Entered:
    """A sample on its way into the UNet."""

    hidden: Tensor
    """(B or B F, C, h, w) after the first convolution."""
    time: Tensor
    """(B or B F, D) embedding of the timestep and what is added to it."""
    context: Tensor | None
    """(B or B F, L, D) cross-attention tokens."""
    frames: int | None
    """Frames of each sample, None in 2-D."""


class DeepCache:
    """A UNet for the length of one run, called like the UNet itself.

    Args:
        unet: `UNet2DConditionModel` or `UNet3DConditionModel`; not changed.
        interval: Calls from one computation of the whole network to the next; 1 keeps nothing.
        depth: Layers of the way up that every call computes; as many as the outermost block has, at most.

    Raises:
        BadArgument: The network is no UNet, or the interval is out of range.
    """

    def __init__(self, unet: Any, interval: int, *, depth: int = DEPTH) -> None:
        check_interval(interval)
        if interval > 1 and type(unet).__name__ not in NETWORKS:
            raise BadArgument(
                f"cache_interval: found {interval} for a {type(unet).__name__}, expected 1 (only UNets keep "
                "deep features); leave it out"
            )
        self._unet, self._interval, self._calls = unet, interval, 0
        self._depth = min(depth, len(unet.up_blocks[-1].resnets)) if interval > 1 else 0
        self._deep: Tensor | None = None

    def __call__(self, sample: Tensor, timestep: Tensor, **arguments: Any) -> tuple[Tensor]:
        """The UNet's prediction, or nearly so: sample and result are (B, C, h, w) or (B, C, F, h, w)."""
        if self._interval == 1:
            return (self._unet(sample, timestep, **{**arguments, "return_dict": False})[0],)
        entered = _enter(self._unet, sample, timestep, arguments)
        if self._calls % self._interval == 0:
            deep, skips = self._whole(entered, odd=_is_odd(self._unet, sample))
            self._deep = deep
        else:
            assert self._deep is not None  # the first call was a whole one
            deep, skips = self._deep, self._first_skips(entered)
        self._calls += 1
        return (self._last_layers(deep, skips, entered),)

    def _whole(self, entered: _Entered, *, odd: bool) -> tuple[Tensor, list[Tensor]]:
        """All but the last layers. Returns what enters those, and the skip connections left for them."""
        unet, hidden, skips = self._unet, entered.hidden, [entered.hidden]
        for block in unet.down_blocks:
            hidden, outputs = block(hidden_states=hidden, **_block_arguments(block, entered))
            skips += outputs
        if unet.mid_block is not None:
            hidden = unet.mid_block(hidden, **_block_arguments(unet.mid_block, entered))
        for block in unet.up_blocks[:-1]:
            used = len(block.resnets)
            given, skips = tuple(skips[-used:]), skips[:-used]
            size = skips[-1].shape[2:] if odd else None
            hidden = block(
                hidden_states=hidden,
                res_hidden_states_tuple=given,
                upsample_size=size,
                **_block_arguments(block, entered),
            )
        last = unet.up_blocks[-1]
        for index in range(len(last.resnets) - self._depth):
            hidden = _layer(last, index, torch.cat([hidden, skips.pop()], dim=1), entered)
        return hidden, skips

    def _first_skips(self, entered: _Entered) -> list[Tensor]:
        """The skip connections that the last layers need."""
        skips = [entered.hidden]
        for index in range(self._depth - 1):
            skips.append(_layer(self._unet.down_blocks[0], index, skips[-1], entered))
        return skips

    def _last_layers(self, hidden: Tensor, skips: list[Tensor], entered: _Entered) -> Tensor:
        """The layers that every call computes, and the way out."""
        unet, last = self._unet, self._unet.up_blocks[-1]
        for index in range(len(last.resnets) - self._depth, len(last.resnets)):
            hidden = _layer(last, index, torch.cat([hidden, skips.pop()], dim=1), entered)
        if unet.conv_norm_out is not None:
            hidden = unet.conv_act(unet.conv_norm_out(hidden))
        hidden = unet.conv_out(hidden)
        if entered.frames is None:
            return hidden
        return hidden.unflatten(0, (-1, entered.frames)).transpose(1, 2)


def check_interval(interval: object) -> None:
    """BadArgument unless it is a whole number in range."""
    if isinstance(interval, bool) or not isinstance(interval, int) or not 1 <= interval <= MAX_INTERVAL:
        raise BadArgument(
            f"cache_interval: found {interval!r}, expected a whole number from 1 (off) to "
            f"{MAX_INTERVAL}; 3 is usual"
        )


def _enter(unet: Any, sample: Tensor, timestep: Tensor, arguments: dict[str, Any]) -> _Entered:
    """Embed the timestep and everything beside it, and take the sample through the first convolution."""
    rows, context = len(sample), arguments.get("encoder_hidden_states")
    timesteps = timestep.reshape(-1).expand(rows).to(sample.device)
    time = unet.time_embedding(unet.time_proj(timesteps).to(sample.dtype), arguments.get("timestep_cond"))
    if sample.ndim == 5:
        frames = sample.shape[2]
        hidden = unet.conv_in(sample.transpose(1, 2).flatten(0, 1))
        hidden = unet.transformer_in(hidden, num_frames=frames, return_dict=False)[0]
        repeated = None if context is None else context.repeat_interleave(frames, dim=0)
        return _Entered(hidden, time.repeat_interleave(frames, dim=0), repeated, frames)
    added = arguments.get("added_cond_kwargs")
    label = unet.get_class_embed(sample=sample, class_labels=arguments.get("class_labels"))
    if label is not None:
        time = torch.cat([time, label], dim=-1) if unet.config.class_embeddings_concat else time + label
    more = unet.get_aug_embed(emb=time, encoder_hidden_states=context, added_cond_kwargs=added)
    time = time if more is None else time + more
    if unet.time_embed_act is not None:
        time = unet.time_embed_act(time)
    context = unet.process_encoder_hidden_states(encoder_hidden_states=context, added_cond_kwargs=added)
    return _Entered(unet.conv_in(sample), time, context, None)


def _block_arguments(block: nn.Module, entered: _Entered) -> dict[str, Any]:
    """Keyword arguments of a block beside its sample."""
    given: dict[str, Any] = {"temb": entered.time}
    if getattr(block, "has_cross_attention", False):
        given["encoder_hidden_states"] = entered.context
    if entered.frames is not None:
        given["num_frames"] = entered.frames
    return given


def _layer(block: Any, index: int, hidden: Tensor, entered: _Entered) -> Tensor:
    """One layer of a block: residual convolutions and attention, each over space and then over frames."""
    frames = entered.frames
    hidden = block.resnets[index](hidden, entered.time)
    if frames is not None:
        hidden = block.temp_convs[index](hidden, num_frames=frames)
    if hasattr(block, "attentions"):
        context = entered.context
        hidden = block.attentions[index](hidden, encoder_hidden_states=context, return_dict=False)[0]
        if frames is not None:
            hidden = block.temp_attentions[index](hidden, num_frames=frames, return_dict=False)[0]
    return hidden


def _is_odd(unet: Any, sample: Tensor) -> bool:
    """Whether a side cannot be halved and doubled back, so that the way up must be told its sizes."""
    return any(side % 2**unet.num_upsamplers for side in sample.shape[-2:])
