"""What a model is made of, read from the headers of its files: nothing is loaded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from anygen.config import AnyGenConfig, OutputProjectionConfig, Part
from anygen.errors import CheckpointCorrupt
from anygen.presets import PRESETS

from .resolve import bundled_names, read_config, resolve

TRAINED = ("input_projection", "adapter", "output_projections/")
"""Parts that the alignment stages train; all others are frozen there."""

_LARGEST_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """One part of a model."""

    name: str
    """Folder of the part."""
    parameters: int
    """Numbers in its weights."""
    trainable: int
    """Of these, the ones that the alignment stages train."""
    licence: str
    """Licence of the weights."""
    source: str
    """Where they come from."""


def inspect_model(name_or_path: str) -> list[PartReport]:
    """Report every part of a model.

    Args:
        name_or_path: bundled name, preset, folder or hub id.

    Returns:
        The parts in the order of the data.

    Raises:
        MissingPart: when there is no such model.
        CheckpointCorrupt: when a file of it cannot be read.
    """
    if name_or_path in PRESETS and name_or_path not in bundled_names() and not Path(name_or_path).is_dir():
        config, folder = PRESETS[name_or_path](), None
    else:
        folder = resolve(name_or_path)
        config = read_config(folder)
    return [_report(name, part, folder, config) for name, part in config.parts().items()]


def count_parameters(folder: Path) -> int:
    """Count the numbers in all safetensors files below a folder.

    Args:
        folder: where to look.

    Returns:
        Number of parameters and buffers stored.

    Raises:
        CheckpointCorrupt: when a file has no readable header.
    """
    return sum(_count_file(path) for path in sorted(folder.rglob("*.safetensors")))


def count_output_projection(part: OutputProjectionConfig, hidden_dim: int) -> int:
    """Count the parameters of the published layout: linear, transformer, linear, learned queries.

    Args:
        part: sizes of the projection.
        hidden_dim: width of the language model.

    Returns:
        Number of parameters.
    """
    d, norm = part.inner_dim, 2 * part.inner_dim
    attention = 4 * d * d + 4 * d
    feed_forward = 2 * d * part.ffn_dim + d + part.ffn_dim
    encoder = part.num_encoder_layers * (attention + feed_forward + 2 * norm) + norm
    decoder = part.num_decoder_layers * (2 * attention + feed_forward + 3 * norm) + norm
    outer = hidden_dim * d + d + d * part.cond_dim + part.cond_dim + part.num_queries * d
    return encoder + decoder + outer


def _count_file(path: Path) -> int:
    """Read the header alone: 8 bytes of length, then JSON (the safetensors format)."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LARGEST_HEADER, path.stat().st_size):
                raise ValueError
            header = json.loads(file.read(length))
        return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointCorrupt(
            f"{path.parent.name}/{path.name} has no readable safetensors header; fetch or build it again."
        ) from None


def _report(name: str, part: Part, folder: Path | None, config: AnyGenConfig) -> PartReport:
    if folder is not None and (folder / name).is_dir():
        parameters = count_parameters(folder / name)
    else:
        parameters = part.num_parameters or _expected(name, part, config)
    trainable = parameters if name.startswith(TRAINED) else 0
    return PartReport(
        name=name, parameters=parameters, trainable=trainable, licence=part.licence, source=part.source
    )


def _expected(name: str, part: Part, config: AnyGenConfig) -> int:
    """Parameters that a projection of these sizes has, for a preset that has no files yet."""
    hidden = config.llm.hidden_dim
    if name == "input_projection":
        width = hidden * config.input_projection.num_tokens
        return config.encoder.embed_dim * width + width
    if isinstance(part, OutputProjectionConfig):
        return count_output_projection(part, hidden)
    return 0
