"""What the signals of an evaluation look like through the decoders: samples of decoder alignment."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anygen.decoders.registry import open_decoder
from anygen.errors import MissingPart
from anygen.modality import Modality
from anygen.prompting import Prompt

from .samples import SampleFolder
from .system import System

SHOWN = 4
"""Signals of each modality that are decoded."""


logger = logging.getLogger(__name__)


class FolderDecoders:
    """Decoders that a stage was told of by their folders.

    Args:
        folders: folder of a decoder by modality.
    """

    def __init__(self, folders: Mapping[Modality, str]) -> None:
        self._folders = folders

    def __getitem__(self, modality: Modality) -> Any:
        """Open a decoder. Raises MissingPart where there is none."""
        if modality not in self._folders:
            raise MissingPart(f"found no decoder for {modality}, expected its folder in the configuration")
        return open_decoder(modality, self._folders[modality])


def show_signals(
    samples: SampleFolder, name: str, system: System, prompts: Sequence[Prompt], decoders: Any
) -> None:
    """Decode what the first signals of each modality project to.

    Args:
        samples: where to.
        name: which prompts these are, such as "held_out".
        system: the model.
        prompts: prompts with signals.
        decoders: gives a decoder for a modality or raises MissingPart; such a modality is not shown.
    """
    for modality in system.tokens.groups:
        chosen = [p for p in prompts if any(placed.modality is modality for placed in p.signals)][:SHOWN]
        if not chosen:
            continue
        try:
            decoder = decoders[modality]
        except MissingPart as error:
            logger.info("no samples of %s: %s", modality, error)
            continue
        (group,) = system.grouped(chosen, np.random.default_rng(0), parts=1, held_out=True)
        output = system.forward(group)
        states, embeds = output.signal_states[modality][:SHOWN], output.signal_embeds[modality][:SHOWN]
        media = decoder(system.model.project(modality, states, embeds), seeds=list(range(len(states))))
        samples.add_all(f"{modality}, {name}", modality, media, group.captions[modality][:SHOWN])
