"""A video UNet started from an image UNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet3DConditionModel

from anygen.decoders.inflate import init_video_from_image, is_temporal
from anygen.errors import WeightsMismatch

SHARED: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "norm_num_groups": 32,
    "in_channels": 4,
    "out_channels": 4,
}


def image_unet(**changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    settings = SHARED | {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4),
    }
    return UNet2DConditionModel(**(settings | changes)).eval()


def video_unet(**changes: Any) -> UNet3DConditionModel:
    torch.manual_seed(1)
    settings = SHARED | {
        "down_block_types": ("DownBlock3D", "CrossAttnDownBlock3D"),
        "up_block_types": ("CrossAttnUpBlock3D", "UpBlock3D"),
        "attention_head_dim": 16,
    }
    return UNet3DConditionModel(**(settings | changes)).eval()


@pytest.mark.parametrize("linear", [False, True])
def test_video_unet_equals_the_image_unet_frame_by_frame(linear: bool) -> None:
    unet2d, unet3d = image_unet(use_linear_projection=linear), video_unet()
    left = init_video_from_image(unet2d, unet3d)
    assert left and all(map(is_temporal, left))
    sample, embeds = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 5, 8)
    timesteps = torch.tensor([7, 900])
    with torch.no_grad():
        video = unet3d(sample, timesteps, embeds).sample
        frames = [unet2d(sample[:, :, f], timesteps, embeds).sample for f in range(3)]
    assert (video - torch.stack(frames, 2)).abs().max() < 1e-5


def test_every_temporal_layer_can_leave_the_identity() -> None:
    unet2d, unet3d = image_unet(), video_unet()
    init_video_from_image(unet2d, unet3d)
    unet3d(
        torch.randn(1, 4, 3, 8, 8), torch.tensor([5]), torch.randn(1, 5, 8)
    ).sample.square().mean().backward()
    lasts = [
        p
        for n, p in unet3d.named_parameters()
        if is_temporal(n) and n.endswith((".conv4.3.weight", ".proj_out.weight"))
    ]
    assert len(lasts) > 10
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lasts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers_per_block": 2}, "names in one of them alone"),
        ({"cross_attention_dim": 16}, r"expected \(\d+, 8\)"),
        ({"attention_head_dim": 8}, "attention_head_dim counts heads in 2-D"),
        ({"norm_eps": 1e-6}, "norm groups and eps"),
    ],
)
def test_mismatched_unets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsMismatch, match=message):
        init_video_from_image(image_unet(**changes), video_unet())
