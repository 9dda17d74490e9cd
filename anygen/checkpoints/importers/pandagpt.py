"""PandaGPT's delta (7B or 13B): one linear projection and the adapter, without new tokens."""

from __future__ import annotations

from ..weights import WEIGHTS
from .layout import HALF, Entry, Layout, check_layout
from .lora import BASE, AdapterSizes, adapter_layout, write_adapter
from .request import ImportReport, ImportRequest, report
from .writing import importing, write_tensors

SIZES = (AdapterSizes(), AdapterSizes(hidden_dim=5120, num_layers=40))
"""The published deltas: for Vicuna-7B v0 and 13B v0."""
ENCODER_WIDTH = 1024
"""Width of ImageBind's vector."""


def pandagpt_layout(sizes: AdapterSizes, encoder_width: int = ENCODER_WIDTH) -> Layout:
    """Every tensor of a delta: all that was trainable, and nothing else.

    Args:
        sizes: of the language model and the adapter.
        encoder_width: of the encoder's vector.

    Returns:
        Names, shapes and types.
    """
    projection = {
        "llama_proj.weight": Entry((sizes.hidden_dim, encoder_width), HALF),
        "llama_proj.bias": Entry((sizes.hidden_dim,), HALF),
    }
    return adapter_layout(sizes) | projection


def import_pandagpt(
    request: ImportRequest, sizes: tuple[AdapterSizes, ...] = SIZES, encoder_width: int = ENCODER_WIDTH
) -> ImportReport:
    """Import a PandaGPT delta.

    Args:
        request: what to import, and where to.
        sizes: the deltas that are known.
        encoder_width: of the encoder's vector.

    Returns:
        What was done. The folder holds `input_projection/` and `adapter/`.

    Raises:
        MissingPart: when the file is missing.
        CheckpointCorrupt: when it is damaged or no plain tensors.
        WeightsMismatch: unless its tensors are exactly those of a delta.
    """
    source = request.open("pytorch_model.pt")
    last = {size: f"{BASE}model.layers.{size.num_layers - 1}." for size in sizes}
    # the deepest model whose last layer is there; a delta with a hole is then compared with its own table
    deepest_first = sorted(sizes, key=lambda size: -size.num_layers)
    size = next((s for s in deepest_first if any(k.startswith(last[s]) for k in source.tensors)), sizes[0])
    tensors = check_layout(source.tensors, pandagpt_layout(size, encoder_width), source.path.name)
    with importing(request.destination, "pandagpt", source) as draft:
        names = {"linear.weight": "llama_proj.weight", "linear.bias": "llama_proj.bias"}
        write_tensors(draft / "input_projection" / WEIGHTS, {new: tensors[old] for new, old in names.items()})
        write_adapter(draft / "adapter", tensors, size)
    note = (
        "parts for Vicuna v0 in its own template; media of one turn are summed, nothing is generated but text"
    )
    return report("pandagpt", source, tensors, (note,))
