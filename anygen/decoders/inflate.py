"""Start a UNet from one that lacks something: coordinates of its input, or a film's temporal layers."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn

from ..errors import WeightsMismatch

TEMPORAL = ("transformer_in.", ".temp_convs.", ".temp_attentions.")
"""What only the 3-D network has, by a piece of its parameter names."""


def is_temporal(name: str) -> bool:
    """Whether a parameter of a `UNet3DConditionModel` is of a temporal layer, which the 2-D one lacks."""
    return any(piece in name for piece in TEMPORAL)


def init_with_coordinates(source: nn.Module, target: nn.Module) -> None:
    """Copy a UNet into one that is told coordinates too, in place.

    The weights of the new input channels, which are the last ones, stay as they are in the target. They must
    not be zero: where neither time nor words alone say where a thing is (left at the end is right at the
    start), zeros are a saddle that training does not leave.

    Args:
        source: The trained UNet, of at most as many input channels.
        target: A UNet that is otherwise alike, changed in place.

    Raises:
        WeightsMismatch: They differ in more than input channels.
    """
    weights = source.state_dict()
    first, wider = weights["conv_in.weight"], target.get_parameter("conv_in.weight")
    if first.shape[1] < wider.shape[1]:
        weights["conv_in.weight"] = torch.cat([first, wider.detach()[:, first.shape[1] :]], dim=1)
    try:
        target.load_state_dict(weights)
    except RuntimeError as error:
        first_difference = str(error).splitlines()[1].strip()[:120]
        raise WeightsMismatch(
            f"starting UNet: found other layers ({first_difference}), expected the same but for input "
            "channels; give both the same sizes"
        ) from None


def copy_spatial(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy the spatial layers between an image UNet and a video UNet, either way, or between two of a kind.

    Names agree between the two networks; 1 x 1 convolutions and linear layers are exchanged where
    `use_linear_projection` differs (the 3-D blocks always use linear ones).

    Beware: `attention_head_dim` of diffusers means the number of heads in the 2-D network and the width of a
    head in the 3-D one: channels (64, 96, 128) with 3-D `attention_head_dim=32` need 2-D `(2, 3, 4)`.

    Args:
        source: A trained UNet.
        target: The other, changed in place; its temporal layers stay as they are.

    Returns:
        Names of the target's parameters that were not copied: the temporal ones.

    Raises:
        WeightsMismatch: The spatial parts differ in a name, a shape or the number of attention heads.
    """
    given, taken = source.state_dict(), target.state_dict()
    spatial, offered = ({n for n in weights if not is_temporal(n)} for weights in (taken, given))
    if missing := sorted(spatial ^ offered):
        raise WeightsMismatch(
            f"image and video UNet: found {len(missing)} names in one of them alone (first: "
            f"{missing[0]}), expected the same spatial layers; "
            "give both the same block types, layers_per_block and channels"
        )
    for name in sorted(spatial):
        if given[name].numel() != taken[name].numel() or given[name].shape[0] != taken[name].shape[0]:
            raise WeightsMismatch(
                f"{name}: found shape {tuple(given[name].shape)} in the {_kind(source)} UNet, expected "
                f"{tuple(taken[name].shape)}; give both UNets the same channels and cross_attention_dim"
            )
    _check_layers(source, target)
    with torch.no_grad():
        for name in spatial:
            taken[name].copy_(given[name].reshape(taken[name].shape))
    return sorted(taken.keys() - spatial)


def init_video_from_image(unet2d: UNet2DConditionModel, unet3d: UNet3DConditionModel) -> list[str]:
    """Copy an image UNet into a video UNet and make the temporal layers the identity, in place.

    Right after, the video UNet in eval mode equals the image UNet frame by frame. diffusers starts temporal
    convolutions as the identity but not temporal attention, whose last projection is therefore zeroed here
    too; both still receive gradients.

    Args:
        unet2d: The trained image UNet.
        unet3d: The video UNet, changed in place.

    Returns:
        Names of the 3-D parameters that were not copied: the temporal ones.

    Raises:
        WeightsMismatch: As `copy_spatial`.
    """
    left = copy_spatial(unet2d, unet3d)
    for module in unet3d.modules():
        if isinstance(module, (TemporalConvLayer, TransformerTemporalModel)):
            last = module.conv4[-1] if isinstance(module, TemporalConvLayer) else module.proj_out
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
    return left


def _kind(unet: nn.Module) -> str:
    return "video" if isinstance(unet, UNet3DConditionModel) else "image"


def _check_layers(source: nn.Module, target: nn.Module) -> None:
    """Heads and norm groups leave no trace in the shapes, so they are compared layer by layer."""
    others = dict(target.named_modules())
    for name, module in source.named_modules():
        if is_temporal(f"{name}."):
            continue
        found: tuple[str, object, object] | None = None
        if isinstance(module, Attention):
            found = ("attention heads", module.heads, others[name].heads)
        elif isinstance(module, nn.GroupNorm):
            found = (
                "norm groups and eps",
                (module.num_groups, module.eps),
                (others[name].num_groups, others[name].eps),
            )
        if found is not None and found[1] != found[2]:
            raise WeightsMismatch(
                f"{name}: found {found[1]} {found[0]} in the {_kind(source)} UNet, expected the "
                f"{_kind(target)} UNet's {found[2]}; note that attention_head_dim counts heads in 2-D and is "
                "a head's width in 3-D"
            )
