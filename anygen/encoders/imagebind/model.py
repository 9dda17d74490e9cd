"""ImageBind: one transformer tower per modality, all ending in one space (Girdhar et al. 2023).

State-dict keys and shapes are those of the published checkpoint, so it loads with `strict=True`. `forward`
gives the published outputs, scale included; `encode` gives unit-norm vectors, which is what everything behind
the encoder takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.errors import BadArgument, MissingPart
from anygen.modality import Modality

from .config import (
    TOWER,
    AnyTowerConfig,
    AudioTowerConfig,
    DepthTowerConfig,
    ImageBindConfig,
    ImuTowerConfig,
    TextTowerConfig,
    VisionTowerConfig,
)
from .stems import ClipStem, ImuPreprocessor, PatchStem, SpatialPreprocessor, TextPreprocessor
from .trunk import BLOCK_EPS, Trunk

MAX_SCALE = 100.0
"""Largest factor of the learned scale (Appendix B; as in CLIP)."""

INPUT_NDIM: dict[Modality, tuple[tuple[int, str], ...]] = {
    Modality.TEXT: ((2, "(N, context)"),),
    Modality.IMAGE: ((4, "(N, 3, H, W)"),),
    Modality.VIDEO: ((6, "(N, S, 3, T, H, W)"),),
    Modality.AUDIO: ((4, "(N, 1, mel, frames)"), (5, "(N, S, 1, mel, frames)")),
    Modality.DEPTH: ((4, "(N, 1, H, W)"),),
    Modality.THERMAL: ((4, "(N, 1, H, W)"),),
    Modality.IMU: ((3, "(N, 6, samples)"),),
}
"""Dimensions that the inputs of a modality may have; S counts clips."""


class LearnedScale(nn.Module):
    """Factor behind the normalisation, kept as its logarithm and clipped at 100.

    Args:
        scale: Initial value of the factor.
        learned: Whether it is a parameter (text) or a buffer.
    """

    def __init__(self, *, scale: float, learned: bool) -> None:
        super().__init__()
        value = torch.tensor(math.log(scale))
        if learned:
            self.log_logit_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_logit_scale", value)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x."""
        return x * self.log_logit_scale.exp().clamp(max=MAX_SCALE)


class ClassTokenHead(nn.Sequential):
    """Norm of the class token, dropout where there is any, and the projection into the shared space."""

    def __init__(self, *, width: int, embed_dim: int, dropout: float | None = None) -> None:
        middle: list[nn.Module] = [nn.Identity()] if dropout is None else [nn.Identity(), nn.Dropout(dropout)]
        projection = nn.Linear(width, embed_dim, bias=False)
        nn.init.normal_(projection.weight, std=width**-0.5)
        super().__init__(nn.LayerNorm(width, eps=BLOCK_EPS), *middle, projection)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map trunk tokens (B, L, D) to (B, embed_dim)."""
        return super().forward(tokens[:, 0])

    def patches(self, tokens: Tensor) -> Tensor:
        """Map trunk tokens (B, L, D) to (B, L - 1, embed_dim): the same of all but the class token."""
        return super().forward(tokens[:, 1:])


class EndTokenHead(nn.Module):
    """Norm of the token at the end of the text, and the projection into the shared space."""

    def __init__(self, *, width: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=BLOCK_EPS), nn.Linear(width, embed_dim, bias=False))
        nn.init.normal_(self.proj.get_parameter("1.weight"), std=width**-0.5)

    def forward(self, tokens: Tensor, end: Tensor) -> Tensor:
        """Map trunk tokens (B, L, D) and end positions (B,) to (B, embed_dim)."""
        return self.proj(tokens[torch.arange(tokens.shape[0], device=tokens.device), end])


def end_positions(input_ids: Tensor) -> Tensor:
    """Position (B,) of the end token in ids (B, L): the first occurrence of the largest id of each row."""
    places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    is_end = input_ids == input_ids.amax(dim=1, keepdim=True)
    return places.masked_fill(~is_end, input_ids.shape[1]).amin(dim=1)


class ImageBindModel(nn.Module):
    """The towers of a configuration, or those that some modalities need.

    Args:
        config: Sizes.
        modalities: Build only the towers that these need; None builds all.

    Raises:
        MissingPart: The configuration lacks a tower that was asked for.
    """

    def __init__(self, config: ImageBindConfig, modalities: Iterable[Modality] | None = None) -> None:
        super().__init__()
        self.config = config
        names = config.tower_names(modalities)
        towers = {name: config.towers[name] for name in names}
        self.modality_preprocessors = nn.ModuleDict({n: _build_preprocessor(n, t) for n, t in towers.items()})
        self.modality_trunks = nn.ModuleDict({n: _build_trunk(t) for n, t in towers.items()})
        self.modality_heads = nn.ModuleDict({n: _build_head(t, config.embed_dim) for n, t in towers.items()})
        self.modality_postprocessors = nn.ModuleDict(
            {n: scale for n, t in towers.items() if (scale := _build_scale(t)) is not None}
        )

    @property
    def embed_dim(self) -> int:
        """Width of the shared space."""
        return self.config.embed_dim

    @property
    def modalities(self) -> frozenset[Modality]:
        """Modalities whose towers are built."""
        return frozenset(m for m in Modality if TOWER[m] in self.modality_trunks)

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared inputs into the shared space.

        Args:
            modality: What the inputs are.
            inputs: One of the shapes in `INPUT_NDIM`; several clips of one item are averaged.

        Returns:
            (N, embed_dim) float32 of unit norm, without the modality's scale.

        Raises:
            MissingPart: The tower is not built.
            BadArgument: The inputs have a shape that the tower cannot take.
        """
        vectors = F.normalize(self._pooled(modality, inputs).float(), dim=-1)
        return vectors[:, 0] if vectors.shape[1] == 1 else F.normalize(vectors.mean(dim=1), dim=-1)

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode media into their patch tokens in the shared space.

        Args:
            modality: What the inputs are; not text.
            inputs: One of the shapes in `INPUT_NDIM`; the tokens of several clips stand in a row.

        Returns:
            (N, L, embed_dim) float32, each of unit norm, without class tokens and scale.

        Raises:
            MissingPart: The tower is not built.
            BadArgument: Texts, or inputs of a shape that the tower cannot take.
        """
        if modality is Modality.TEXT:
            raise BadArgument("Found texts; expected media, since patch tokens are asked for. Encode them.")
        trunk, clips = self._trunk(modality, inputs)
        head = self.modality_heads[TOWER[modality]]
        assert isinstance(head, ClassTokenHead)
        tokens = F.normalize(head.patches(trunk).float(), dim=-1)
        return tokens.unflatten(0, (-1, clips)).flatten(1, 2)

    def forward(self, inputs: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        """Published outputs: per clip normalised and scaled, then the plain mean over clips.

        Args:
            inputs: Prepared inputs by modality.

        Returns:
            (N, embed_dim) by modality; norms are those of the modality's scale, or less with several clips.
        """
        outputs = {}
        for modality, values in inputs.items():
            vectors = F.normalize(self._pooled(modality, values), dim=-1)
            name = TOWER[modality]
            if name in self.modality_postprocessors:
                vectors = self.modality_postprocessors[name](vectors)
            outputs[modality] = vectors.mean(dim=1)
        return outputs

    def _pooled(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Head outputs (N, S, embed_dim) before any normalisation."""
        if modality is Modality.TEXT:
            self._check(modality, inputs)
            return self._pooled_text(inputs)[:, None]
        tokens, clips = self._trunk(modality, inputs, num_queries=1)
        return self.modality_heads[TOWER[modality]](tokens).unflatten(0, (-1, clips))

    def _trunk(
        self, modality: Modality, inputs: Tensor, *, num_queries: int | None = None
    ) -> tuple[Tensor, int]:
        """Trunk tokens (N * S, L, D) of media, all or the first ones, and the number S of clips."""
        self._check(modality, inputs)
        name = TOWER[modality]
        clips = inputs.shape[1] if inputs.ndim >= 5 else 1
        x = inputs.flatten(0, 1) if inputs.ndim >= 5 else inputs
        dtype = next(self.modality_trunks[name].parameters()).dtype
        tokens = self.modality_preprocessors[name](x.to(dtype))
        return self.modality_trunks[name](tokens, num_queries=num_queries), clips

    def _check(self, modality: Modality, inputs: Tensor) -> None:
        name = TOWER[modality]
        if name not in self.modality_trunks:
            raise MissingPart(
                f"Found no {name} tower loaded for {modality}; loaded: {', '.join(self.modality_trunks)}. "
                "Name the modality when the model is built."
            )
        _check_shape(modality, inputs)

    def _pooled_text(self, input_ids: Tensor) -> Tensor:
        context = self.modality_preprocessors["text"].get_parameter("pos_embed").shape[1]
        if input_ids.shape[1] > context:
            raise BadArgument(
                f"Found texts of {input_ids.shape[1]} tokens; expected at most {context}. Cut them."
            )
        end = end_positions(input_ids)
        # Attention is causal, so nothing behind the last end token can matter: do not compute it.
        length = int(end.amax()) + 1 if len(end) else input_ids.shape[1]
        tokens = self.modality_trunks["text"](self.modality_preprocessors["text"](input_ids[:, :length]))
        return self.modality_heads["text"](tokens, end)


def _check_shape(modality: Modality, inputs: Tensor) -> None:
    allowed = INPUT_NDIM[modality]
    if inputs.ndim not in [ndim for ndim, _ in allowed]:
        expected = " or ".join(text for _, text in allowed)
        raise BadArgument(
            f"Found {modality} inputs of shape {tuple(inputs.shape)}; expected {expected}. "
            "Prepare them with ImageBindProcessor."
        )


def _build_preprocessor(name: str, tower: AnyTowerConfig) -> nn.Module:
    if isinstance(tower, TextTowerConfig):
        return TextPreprocessor(
            vocab_size=tower.vocab_size, context_length=tower.context_length, width=tower.width
        )
    if isinstance(tower, ImuTowerConfig):
        return ImuPreprocessor(
            width=tower.width, kernel_size=tower.kernel_size, num_samples=tower.num_samples
        )
    stem: PatchStem | ClipStem
    if isinstance(tower, AudioTowerConfig):
        stem = PatchStem(width=tower.width, kernel_size=tower.kernel_size, stride=tower.stride)
        sizes = zip((tower.num_mel_bins, tower.target_frames), tower.kernel_size, tower.stride, strict=True)
        rows, columns = ((size - kernel) // stride + 1 for size, kernel, stride in sizes)
    else:
        rows = columns = tower.image_size // tower.patch_size
        patch = (tower.patch_size, tower.patch_size)
        if isinstance(tower, VisionTowerConfig):
            stem = ClipStem(width=tower.width, patch_size=tower.patch_size, num_frames=tower.num_frames)
        else:
            stem = PatchStem(width=tower.width, kernel_size=patch, stride=patch)
    stem_name = "depth_stem" if isinstance(tower, DepthTowerConfig) else "rgbt_stem"
    return SpatialPreprocessor(stem=stem, stem_name=stem_name, grid=(rows, columns), width=tower.width)


def _build_trunk(tower: AnyTowerConfig) -> Trunk:
    return Trunk(
        width=tower.width,
        num_blocks=tower.num_blocks,
        num_heads=tower.num_heads,
        drop_path=tower.drop_path,
        bias_kv=not isinstance(tower, TextTowerConfig | VisionTowerConfig),
        pre_norm=isinstance(tower, VisionTowerConfig),
        causal=isinstance(tower, TextTowerConfig),
    )


def _build_head(tower: AnyTowerConfig, embed_dim: int) -> nn.Module:
    if isinstance(tower, TextTowerConfig):
        return EndTokenHead(width=tower.width, embed_dim=embed_dim)
    dropout = tower.head_dropout if isinstance(tower, ImuTowerConfig) else None
    return ClassTokenHead(width=tower.width, embed_dim=embed_dim, dropout=dropout)


def _build_scale(tower: AnyTowerConfig) -> nn.Module | None:
    """The checkpoint keeps the scale as the second entry of a sequence whose first is the normalisation."""
    if isinstance(tower, VisionTowerConfig):
        return None
    if isinstance(tower, TextTowerConfig):
        return nn.Sequential(nn.Identity(), LearnedScale(scale=1 / 0.07, learned=True))
    return nn.Sequential(nn.Identity(), LearnedScale(scale=tower.scale, learned=False))
