"""An encoder on disk: `config.json`, `model.safetensors` with the published keys, the tokenizer's files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

from anygen.config import from_json, to_json
from anygen.errors import CheckpointCorrupt, MissingPart
from anygen.modality import Modality

from ..weights import check_weights, read_tensors
from .config import ImageBindConfig
from .model import ImageBindModel
from .preprocess import ImageBindProcessor
from .text import TextTokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def save_encoder(
    folder: Path,
    model: ImageBindModel,
    tokenizer: TextTokenizer | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model, its configuration and its tokenizer into a folder.

    Args:
        folder: Made when it is not there.
        model: All towers of its configuration must be built.
        tokenizer: Saved as `tokenizer.json`.
        dtype: Stored type of the floating-point weights; the learned scales stay float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(to_json(model.config), indent=2) + "\n")
    weights = {
        key: value.detach().to("cpu", dtype if value.ndim else value.dtype).contiguous()
        for key, value in model.state_dict().items()
    }
    save_file(weights, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer.save(folder)


def load_config(folder: Path) -> ImageBindConfig:
    """Read an encoder folder's configuration. Raises MissingPart, CheckpointCorrupt or BadArgument."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise MissingPart(
            f"Found no {CONFIG_FILE} in {folder.name}; expected an encoder folder. Check the path."
        )
    try:
        data = json.loads(path.read_text())
    except ValueError:
        raise CheckpointCorrupt(
            f"Found a {CONFIG_FILE} in {folder.name} that is not JSON; fetch it again."
        ) from None
    return from_json(ImageBindConfig, data, where=CONFIG_FILE)


def load_encoder(
    folder: Path, modalities: Iterable[Modality] | None = None, *, dtype: torch.dtype = torch.float32
) -> ImageBindModel:
    """Load the towers that some modalities need, reading no other weights.

    Args:
        folder: What `save_encoder` wrote, or an official checkpoint with a `config.json` beside it.
        modalities: None loads all towers.
        dtype: Type of the loaded floating-point weights, whatever they are stored as.

    Returns:
        The model in evaluation mode.

    Raises:
        MissingPart: A file or a tower is missing.
        WeightsMismatch: Keys or shapes are not those of the configuration.
        CheckpointCorrupt: A file cannot be read.
    """
    config = load_config(folder)
    with torch.device("meta"):
        model = ImageBindModel(config, modalities)
    towers = frozenset(model.modality_trunks)  # a key names its tower second: `modality_trunks.audio....`
    weights = read_tensors(folder, lambda key: key.split(".")[1] in towers, dtype)
    check_weights(weights, model.state_dict(), folder.name)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


def load_processor(folder: Path) -> ImageBindProcessor:
    """Make an encoder folder's processor, tokenizer included if it has a text tower. Raises MissingPart."""
    config = load_config(folder)
    tokenizer = TextTokenizer.from_folder(folder, config.text) if config.text else None
    return ImageBindProcessor(config, tokenizer)
