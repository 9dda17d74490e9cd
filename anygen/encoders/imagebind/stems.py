"""From prepared media to tokens: patches, a class token and positions, per modality.

Parameter names and shapes are those of the published checkpoint (`modality_preprocessors.*`). Where patches
do not overlap the convolution is a reshape and one matrix product, several times faster on a CPU and equal to
1e-7.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.errors import BadArgument

STEM_EPS = 1e-5
"""Epsilon of the stems' norms; trunks and heads use 1e-6."""


def _patches_2d(x: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
    """Convolve x (B, C, H, W) with weight (D, C, kh, kw), no bias; returns (B, h, w, D)."""
    kernel = (weight.shape[2], weight.shape[3])
    height, width = ((size - k) // s + 1 for size, k, s in zip(x.shape[2:], kernel, stride, strict=True))
    if kernel != stride:
        return F.conv2d(x, weight, stride=stride).permute(0, 2, 3, 1)
    x = x[:, :, : height * kernel[0], : width * kernel[1]]
    x = x.unflatten(2, (height, kernel[0])).unflatten(4, (width, kernel[1]))
    return F.linear(x.permute(0, 2, 4, 1, 3, 5).flatten(3), weight.flatten(1))


def sine_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Initial positions (1, 1 + h*w, D): sines and cosines of row and column, none for the class token.

    The published weights replace them; a small tower trained from nothing learns where things are far sooner
    from these than from noise.
    """
    table = torch.zeros(1, 1 + grid[0] * grid[1], width)
    axes = [side for side in grid if side > 1]
    per_axis = width // len(axes) // 2 if axes else 0
    cells = torch.cartesian_prod(*(torch.arange(side).float() for side in grid))
    places = cells[:, [i for i, side in enumerate(grid) if side > 1]]
    rates = 10_000 ** (-torch.arange(per_axis) / max(per_axis, 1))
    angles = (places[:, :, None] * rates).flatten(1)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    table[0, 1:, : waves.shape[1]] = waves
    return table


class PositionTable(nn.Module):
    """Learned positions, resized for square inputs of another size.

    Args:
        grid: Patch rows and columns at the size of the configuration.
        width: Width of the tokens.
    """

    def __init__(self, *, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(sine_positions(grid, width))

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """Positions (1, 1 + h*w, D) for a patch grid (h, w), bicubic where the grid is not the trained one.

        Raises BadArgument when a resize would be needed between grids that are not square.
        """
        old, new = self.pos_embed.shape[1] - 1, grid[0] * grid[1]
        if old == new:
            return self.pos_embed
        side = math.isqrt(old)
        if grid[0] != grid[1] or side * side != old:
            raise BadArgument(
                f"Found a patch grid of {grid[0]} x {grid[1]}; expected {old} patches. "
                "Prepare the input at the trained size."
            )
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (side, side)).float()
        table = F.interpolate(table, scale_factor=math.sqrt(new / old), mode="bicubic")
        return torch.cat(
            [self.pos_embed[:, :1], table.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1
        )


class PatchStem(nn.Module):
    """Patch projection of a one-channel map with a norm behind it (audio, depth, thermal).

    Args:
        width: Width of the tokens.
        kernel_size: Patch extent (height, width).
        stride: Patch distance (height, width).
    """

    def __init__(self, *, width: int, kernel_size: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, kernel_size, stride, bias=False)
        self.norm_layer = nn.LayerNorm(width, eps=STEM_EPS)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, 1, H, W) to (B, h, w, D)."""
        return self.norm_layer(_patches_2d(x, self.proj.weight, self.stride))


class ClipStem(nn.Module):
    """Spatio-temporal patch projection of clips of T frames; an image stands for T equal frames (vision).

    Args:
        width: Width of the tokens.
        patch_size: Side of a patch.
        num_frames: Frames per clip, all of which one patch spans.
    """

    def __init__(self, *, width: int, patch_size: int, num_frames: int) -> None:
        super().__init__()
        kernel = (num_frames, patch_size, patch_size)
        self.proj = nn.Sequential(nn.Identity(), nn.Conv3d(3, width, kernel, kernel, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, 3, H, W) or (B, 3, T, H, W) to (B, h, w, D)."""
        weight = self.proj.get_parameter("1.weight")
        num_frames, patch = weight.shape[2], weight.shape[3]
        if x.ndim == 4:
            return _patches_2d(x, weight.sum(dim=2), (patch, patch))
        if x.shape[2] != num_frames:
            raise BadArgument(
                f"Found clips of {x.shape[2]} frames; expected {num_frames}. Subsample the clip first."
            )
        return _patches_2d(x.flatten(1, 2), weight.flatten(1, 2), (patch, patch))


class SpatialPreprocessor(nn.Module):
    """Class token, patches and positions of a picture-like input.

    Args:
        stem: `PatchStem` or `ClipStem`.
        stem_name: Attribute under which the checkpoint keeps it.
        grid: Patch rows and columns at the size of the configuration.
        width: Width of the tokens.
    """

    def __init__(
        self, *, stem: PatchStem | ClipStem, stem_name: str, grid: tuple[int, int], width: int
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.stem_name = stem_name
        self.add_module(stem_name, stem)
        self.pos_embedding_helper = PositionTable(grid=grid, width=width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, [T,] H, W) to tokens (B, 1 + h*w, D)."""
        patches = self.get_submodule(self.stem_name)(x)
        positions = self.pos_embedding_helper((patches.shape[1], patches.shape[2]))
        return _with_class_token(self.cls_token, patches.flatten(1, 2)) + positions


class TextPreprocessor(nn.Module):
    """Token and position embeddings.

    Args:
        vocab_size: Rows of the token embedding.
        context_length: Number of positions.
        width: Width of the tokens.
    """

    def __init__(self, *, vocab_size: int, context_length: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, context_length, width))
        mask = torch.full((context_length, context_length), -math.inf).triu_(1)
        self.register_buffer(
            "mask", mask
        )  # unused, since attention is told to be causal; the checkpoint has it
        self.token_embedding = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.pos_embed, std=0.01)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids (B, L), L at most the context length, to tokens (B, L, D)."""
        return self.token_embedding(input_ids) + self.pos_embed[:, : input_ids.shape[1]]


class ImuStem(nn.Module):
    """Linear projection of windows that do not overlap, with a norm behind it.

    Args:
        width: Width of the tokens.
        kernel_size: Samples per window.
        num_channels: Channels of the trace.
    """

    def __init__(self, *, width: int, kernel_size: int, num_channels: int = 6) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.proj = nn.Linear(num_channels * kernel_size, width, bias=False)
        self.norm_layer = nn.LayerNorm(width, eps=STEM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, 6, n) to (B, n // kernel, D); a window is flattened channel by channel."""
        windows = x.unfold(-1, self.kernel_size, self.kernel_size)
        return self.norm_layer(self.proj(windows.transpose(1, 2).flatten(2)))


class ImuPreprocessor(nn.Module):
    """Class token, windows and positions of an IMU trace.

    Args:
        width: Width of the tokens.
        kernel_size: Samples per window.
        num_samples: Length of the trace.
    """

    def __init__(self, *, width: int, kernel_size: int, num_samples: int) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.pos_embed = nn.Parameter(sine_positions((1, num_samples // kernel_size), width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.imu_stem = ImuStem(width=width, kernel_size=kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, 6, num_samples) to tokens (B, 1 + windows, D). Raises BadArgument for another length."""
        if x.shape[-1] != self.num_samples:
            raise BadArgument(
                f"Found an IMU trace of {x.shape[-1]} samples; expected {self.num_samples}. "
                "Resample or cut it first."
            )
        return _with_class_token(self.cls_token, self.imu_stem(x)) + self.pos_embed


def _with_class_token(cls_token: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
