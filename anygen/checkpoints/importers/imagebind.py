"""`imagebind_huge.pth`, or its safetensors form with the same names, into an encoder folder."""

from __future__ import annotations

import torch

from anygen.config import to_json
from anygen.encoders.imagebind import ImageBindConfig, ImageBindModel, imagebind_huge

from ..weights import WEIGHTS
from .layout import Layout, check_layout, layout_of
from .request import TOKENIZER_FILES, ImportReport, ImportRequest, copy_files, report
from .writing import importing, write_json, write_tensors

FILES = ("imagebind_huge.pth", "model.safetensors")
"""Names of the published files."""


def imagebind_layout(config: ImageBindConfig | None = None) -> Layout:
    """Every tensor of the published checkpoint, read off the model that takes it.

    Args:
        config: sizes; None for the published ones (1311 tensors).

    Returns:
        Names, shapes and types.
    """
    with torch.device("meta"):
        return layout_of(ImageBindModel(config or imagebind_huge()))


def import_imagebind(request: ImportRequest, config: ImageBindConfig | None = None) -> ImportReport:
    """Import an ImageBind checkpoint.

    Args:
        request: what to import, and where to.
        config: sizes; None for the published ones.

    Returns:
        What was done.

    Raises:
        MissingPart: when the file is missing.
        CheckpointCorrupt: when it is damaged or no plain tensors.
        WeightsMismatch: unless its tensors are exactly those of the model.
    """
    config = config or imagebind_huge()
    source = request.open(*FILES)
    tensors = check_layout(source.tensors, imagebind_layout(config), source.path.name)
    with importing(request.destination, "imagebind", source) as draft:
        write_tensors(draft / WEIGHTS, tensors)
        write_json(draft / "config.json", to_json(config))
        copied = copy_files(request.tokenizer or request.folder, draft, TOKENIZER_FILES)
    notes = (
        () if copied else ("no tokenizer beside it: put CLIP's bpe_simple_vocab_16e6.txt.gz into the folder",)
    )
    return report("imagebind", source, tensors, notes)
