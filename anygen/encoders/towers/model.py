"""Towers of several checkpoints as one encoder: their spaces stand side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.errors import BadArgument, MissingPart
from anygen.modality import Modality
from anygen.parts import EncoderConfig

from .clap import ClapMedia, ClapText
from .clip import ClipMedia, ClipText

HALVES: dict[str, tuple[type[ClipMedia] | type[ClapMedia], type[ClipText] | type[ClapText]]] = {
    "clip": (ClipMedia, ClipText),
    "clap": (ClapMedia, ClapText),
}
"""Per family, the half that takes media and the half that reads."""


class TowersModel(nn.Module):
    """Encodes with whichever tower reads a modality.

    Args:
        config: the towers and their spaces.
        halves: the built halves, by the names of `EncoderConfig.half_names`.
        text_lengths: tokens of a text for every tower that reads, in the order of the columns of ids.
    """

    def __init__(
        self, config: EncoderConfig, halves: Mapping[str, nn.Module], text_lengths: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.config = config
        self.halves = nn.ModuleDict(halves)
        self.text_lengths = dict(text_lengths)

    @property
    def embed_dim(self) -> int:
        """Width of the vectors: the sum over the spaces."""
        return self.config.embed_dim

    @property
    def modalities(self) -> frozenset[Modality]:
        """Modalities all of whose halves are loaded."""
        loaded = set(self.halves)
        return frozenset(m for m in self.config.modalities if loaded.issuperset(self.config.half_names([m])))

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared inputs.

        Args:
            modality: what they are.
            inputs: from `TowersProcessor`.

        Returns:
            (N, embed_dim) float32 of unit norm, zero outside the columns of the modality's space. A text
            fills the columns of every space that reads, each with the same share of the norm.

        Raises:
            MissingPart: the half is not loaded.
            BadArgument: inputs of another shape.
        """
        found = self._inputs(modality, inputs)
        vectors = torch.zeros(len(inputs), self.embed_dim, device=inputs.device)
        for name, block in found.items():
            unit = F.normalize(self._half(name, modality).pooled(block).float(), dim=-1)
            unit = unit[:, 0] if unit.shape[1] == 1 else F.normalize(unit.mean(1), dim=-1)
            vectors[:, self.config.columns(self.config.towers[name].space)] = unit * len(found) ** -0.5
        return vectors

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode media to their patch tokens.

        Args:
            modality: what they are; not text.
            inputs: from `TowersProcessor`.

        Returns:
            (N, L, embed_dim) float32, each token of unit norm and zero outside the columns of its space.

        Raises:
            MissingPart: the half is not loaded.
            BadArgument: for texts.
        """
        if modality is Modality.TEXT:
            raise BadArgument("found texts, expected media: patch tokens are asked for; encode texts instead")
        ((name, block),) = self._inputs(modality, inputs).items()
        patches = F.normalize(self._half(name, modality).tokens(block).float(), dim=-1)
        tokens = patches.new_zeros(*patches.shape[:2], self.embed_dim)
        tokens[..., self.config.columns(self.config.towers[name].space)] = patches
        return tokens

    def _inputs(self, modality: Modality, inputs: Tensor) -> dict[str, Tensor]:
        """What each tower gets: of texts, its own columns of ids."""
        readers = list(self.config.readers(modality))
        if modality is not Modality.TEXT or not readers:
            return dict.fromkeys(readers, inputs)
        lengths = [self.text_lengths[name] for name in readers]
        if inputs.ndim != 2 or inputs.shape[1] != sum(lengths):
            raise BadArgument(
                f"found text inputs of shape {tuple(inputs.shape)}, expected (N, {sum(lengths)}); "
                "prepare them with this encoder's processor"
            )
        return dict(zip(readers, inputs.split(lengths, dim=1), strict=True))

    def _half(self, tower: str, modality: Modality) -> Any:
        name = f"{tower}_text" if modality is Modality.TEXT else tower
        if name not in self.halves:
            raise MissingPart(f"Found no {name} loaded for {modality}; name the modality when loading.")
        return self.halves[name]
