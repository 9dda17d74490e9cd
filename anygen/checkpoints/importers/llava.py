"""LLaVA's `mm_projector.bin` into an input projection: linear (version 1) or two layers (version 1.5)."""

from __future__ import annotations

from anygen.errors import WeightsMismatch

from ..weights import WEIGHTS
from .layout import ANY_FLOAT, Entry, Layout, check_layout, check_one_type
from .request import ImportReport, ImportRequest, report
from .writing import importing, write_json, write_tensors

CLIP_WIDTH = 1024
"""Width of the CLIP-L patch tokens that the projector takes."""
LLM_WIDTHS = (4096, 5120)
"""Widths of the 7B and 13B language models."""
_PREFIX = "model.mm_projector."
_LINEAR = {"weight": "linear.weight", "bias": "linear.bias"}
_TWO_LAYERS = {
    "0.weight": "linear_1.weight", "0.bias": "linear_1.bias",
    "2.weight": "linear_2.weight", "2.bias": "linear_2.bias",
}  # fmt: skip


def llava_layout(kind: str, llm_width: int, clip_width: int = CLIP_WIDTH) -> Layout:
    """Every tensor of a published projector.

    Args:
        kind: "linear" or "mlp2x_gelu".
        llm_width: width of the language model.
        clip_width: width of the patch tokens.

    Returns:
        Names, shapes and types.
    """
    first, second = Entry((llm_width, clip_width), ANY_FLOAT), Entry((llm_width, llm_width), ANY_FLOAT)
    bias = Entry((llm_width,), ANY_FLOAT)
    if kind == "linear":
        return {_PREFIX + "weight": first, _PREFIX + "bias": bias}
    return {
        _PREFIX + "0.weight": first, _PREFIX + "0.bias": bias,
        _PREFIX + "2.weight": second, _PREFIX + "2.bias": bias,
    }  # fmt: skip


def import_llava(
    request: ImportRequest, widths: tuple[int, ...] = LLM_WIDTHS, clip_width: int = CLIP_WIDTH
) -> ImportReport:
    """Import a LLaVA projector.

    Args:
        request: what to import, and where to.
        widths: language-model widths that are known.
        clip_width: width of the patch tokens.

    Returns:
        What was done. The folder holds `input_projection/` with its sizes beside the weights.

    Raises:
        MissingPart: when the file is missing.
        CheckpointCorrupt: when it is damaged or no plain tensors.
        WeightsMismatch: unless its tensors are exactly those of a projector.
    """
    source = request.open("mm_projector.bin")
    name = source.path.name
    kind = "linear" if _PREFIX + "weight" in source.tensors else "mlp2x_gelu"
    bias = source.tensors.get(_PREFIX + ("bias" if kind == "linear" else "0.bias"))
    width = widths[0] if bias is None or bias.ndim != 1 else bias.shape[0]
    if width not in widths:
        raise WeightsMismatch(
            f"{name} is for a language model of width {width}, expected {' or '.join(map(str, widths))}; "
            "give the projector of LLaVA 7B or 13B"
        )
    tensors = check_layout(source.tensors, llava_layout(kind, width, clip_width), name)
    check_one_type(tensors, name)
    names = _LINEAR if kind == "linear" else _TWO_LAYERS
    with importing(request.destination, "llava", source) as draft:
        folder = draft / "input_projection"
        write_tensors(folder / WEIGHTS, {new: tensors[_PREFIX + old] for old, new in names.items()})
        write_json(folder / "config.json", {"kind": kind, "encoder_dim": clip_width, "llm_dim": width})
    note = "takes CLIP-L patch tokens of the layer before the last; not ImageBind vectors"
    return report(f"llava {kind}", source, tensors, (note,))
