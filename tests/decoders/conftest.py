"""Tiny random decoders of all families, as fixtures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from anygen.decoders import DECODERS, DecoderParts
from anygen.modality import Modality

sys.path.insert(0, str(Path(__file__).parent))  # for the tiny_ modules: tests are no package

from tiny_decoders import DEFAULTS, SCHEDULERS, SPECS, make_modules  # noqa: E402


@pytest.fixture(scope="session")
def modules_of() -> dict[Modality, dict[str, Any]]:
    """Parts of one tiny decoder for each modality; shared, so leave them as they are."""
    return {modality: make_modules(modality) for modality in DECODERS}


@pytest.fixture
def make_decoder(modules_of: dict[Modality, dict[str, Any]]) -> Callable[..., Any]:
    """Build a decoder over the shared parts, with any of them replaced."""

    def build(modality: Modality, **changes: Any) -> Any:
        modules = {**modules_of[modality], **changes}
        return DECODERS[modality](
            DecoderParts(modality, modules, spec=SPECS[modality], defaults=DEFAULTS[modality])
        )

    return build


@pytest.fixture
def embeds_of() -> Callable[..., torch.Tensor]:
    """Random conditioning of a modality's spec."""

    def draw(modality: Modality, rows: int = 2) -> torch.Tensor:
        spec = SPECS[modality]
        return spec.fit(
            torch.randn(rows, spec.tokens, spec.width, generator=torch.Generator().manual_seed(3))
        )

    return draw


@pytest.fixture
def schedulers() -> dict[str, Callable[[], Any]]:
    """Makers of the schedulers that matter: the official ones, the bundle's and the fast ones."""
    return SCHEDULERS


@pytest.fixture(scope="session")
def folders(
    modules_of: dict[Modality, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[Modality, Path]:
    """Each tiny decoder, saved by us; shared, so copy before changing anything."""
    root = tmp_path_factory.mktemp("decoders")
    for modality, modules in modules_of.items():
        parts = DecoderParts(modality, modules, spec=SPECS[modality], defaults=DEFAULTS[modality])
        DECODERS[modality](parts).save_pretrained(root / modality)
    return {modality: root / modality for modality in DECODERS}
