"""Checkpoints of NExT-GPT's later code: projector files and `non_lora_trainables.bin`, into parts.

No weights of that code were ever published; these are people's own trainings. Names, shapes and sizes are
those that the code writes. Its vocabulary has 36 signal tokens and no delimiters, and its prompts put spaces
between signal tokens, so what comes out are parts to go on from, not a model that answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from anygen.config import AnyGenConfig, OutputProjectionConfig
from anygen.errors import WeightsMismatch
from anygen.modality import Modality
from anygen.presets import nextgpt
from anygen.projections import GroupingProjection

from ..folder import build_output_projection
from ..weights import WEIGHTS
from .layout import ANY_FLOAT, Entry, Layout, check_layout, check_one_type, layout_of
from .published import require_published
from .request import ImportReport, ImportRequest, report
from .safe import Source, open_source
from .writing import importing, write_json, write_tensors

FILES = ("mm_input_projector.bin", "mm_output_projector.bin", "non_lora_trainables.bin")
"""Files that a training of that code leaves."""
OUTPUTS = {Modality.IMAGE: "img", Modality.VIDEO: "vid", Modality.AUDIO: "aud"}
"""What the code calls the output projections."""
_RENAMED = (("fc.", "in_fc."), ("model.", "out_fc."))
"""Our names and that code's, at the beginning of an output projection's tensors."""
_INPUT, _STAGE3 = "model.mm_input_projector.", "base_model.model."
_VOCABULARY = {"embed_tokens": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}


def _config() -> AnyGenConfig:
    """Outputs for Stable Diffusion 2: 1024-wide text embeddings."""
    config = nextgpt()
    table = dict(config.output_projections)
    table[Modality.IMAGE] = OutputProjectionConfig(num_queries=77, cond_dim=1024)
    return dataclasses.replace(config, output_projections=table)


@dataclass(frozen=True, kw_only=True)
class RefactorSizes:
    """Sizes of that code's checkpoints."""

    config: AnyGenConfig = field(default_factory=_config)
    """Projections."""
    num_rows: int = 32036
    """Rows of the embedding: the vocabulary and 4 + 24 + 8 signal tokens."""
    grouping_dim: int = 512
    """Width inside the grouping projection."""
    grouping_heads: int = 8
    """Its attention heads."""


def group_layouts(sizes: RefactorSizes) -> dict[str, Layout]:
    """Every group of tensors that a file may have; a group is whole or absent.

    Args:
        sizes: of the checkpoints.

    Returns:
        Per group its names, shapes and types. `linear` and `grouping` are the two input projections.
    """
    width, encoder_dim = sizes.config.llm.hidden_dim, sizes.config.encoder.embed_dim
    with torch.device("meta"):
        inputs: dict[str, nn.Module] = {
            "linear": nn.Linear(encoder_dim, width),
            "grouping": GroupingProjection(
                encoder_dim=encoder_dim,
                llm_dim=width,
                inner_dim=sizes.grouping_dim,
                num_heads=sizes.grouping_heads,
            ),
        }
        groups = {kind: layout_of(module, _INPUT, ANY_FLOAT) for kind, module in inputs.items()}
        for modality, short in OUTPUTS.items():
            layout = layout_of(build_output_projection(sizes.config, modality), "", ANY_FLOAT)
            prefix = f"model.mm_output_{short}_projector."
            groups[modality.value] = {prefix + _theirs(name): entry for name, entry in layout.items()}
    rows = Entry((sizes.num_rows, width), ANY_FLOAT)
    return groups | {name: {key: rows} for name, key in _VOCABULARY.items()}


def import_refactor(request: ImportRequest, sizes: RefactorSizes | None = None) -> ImportReport:
    """Import what a training of the later code left in a folder, or one file of it.

    Args:
        request: what to import, and where to.
        sizes: None for that code's own.

    Returns:
        What was done. The folder holds the parts that were there.

    Raises:
        MissingPart: when there is no such file.
        CheckpointCorrupt: when one is damaged or no plain tensors.
        WeightsMismatch: unless every group of tensors is whole and nothing else is there.
    """
    sizes = sizes or RefactorSizes()
    files = [request.find(*FILES)]
    if request.source.is_dir():
        files = [request.source / name for name in FILES if (request.source / name).is_file()]
    opened: list[Source] = []
    tensors: dict[str, Tensor] = {}
    for path in files:
        source = open_source(path, sha256=request.sha256 if len(files) == 1 else None)
        if request.published:
            require_published(source)
        opened.append(source)
        if path.name in FILES[:2] and _VOCABULARY["embed_tokens"] not in source.tensors:
            raise WeightsMismatch(
                f"{path.name}: 1 missing: {_VOCABULARY['embed_tokens']}. Nothing was imported; give the "
                "file as the training wrote it."
            )
        # a later stage's file goes over an earlier one's
        tensors |= {name.removeprefix(_STAGE3): t for name, t in source.tensors.items()}
    groups = _present(tensors, group_layouts(sizes), ", ".join(path.name for path in files))
    with importing(request.destination, "nextgpt", *opened) as draft:
        _write(draft, tensors, groups)
    return report(
        f"nextgpt {', '.join(groups)}", opened[-1], tensors, ("parts for training on, not a model",)
    )


def _present(tensors: Mapping[str, Tensor], groups: dict[str, Layout], name: str) -> dict[str, Layout]:
    """The groups that a file has; all of each, and nothing beside them."""
    kind = "linear" if _INPUT + "weight" in tensors else "grouping"
    candidates = {g: layout for g, layout in groups.items() if g not in {"linear", "grouping"} - {kind}}
    found = {g: layout for g, layout in candidates.items() if not layout.keys().isdisjoint(tensors)}
    if not found:
        raise WeightsMismatch(f"{name} has no tensor of NExT-GPT's projectors; give the file that it wrote")
    check_layout(tensors, {k: entry for layout in found.values() for k, entry in layout.items()}, name)
    check_one_type(tensors, name)
    return found


def _write(draft: Path, tensors: Mapping[str, Tensor], groups: dict[str, Layout]) -> None:
    rows = {name: tensors[_VOCABULARY[name]] for name in _VOCABULARY if name in groups}
    if rows:
        write_tensors(draft / "vocabulary" / WEIGHTS, rows)
    for group, layout in groups.items():
        if group in ("linear", "grouping"):
            prefix = "linear." if group == "linear" else ""
            part = {prefix + name.removeprefix(_INPUT): tensors[name] for name in layout}
            write_tensors(draft / "input_projection" / WEIGHTS, part)
            write_json(draft / "input_projection" / "config.json", {"kind": group})
        elif group not in _VOCABULARY:
            short = OUTPUTS[Modality(group)]
            prefix = f"model.mm_output_{short}_projector."
            part = {_ours(name.removeprefix(prefix)): tensors[name] for name in layout}
            write_tensors(draft / "output_projections" / group / WEIGHTS, part)


def _theirs(name: str) -> str:
    return next((new + name.removeprefix(old) for old, new in _RENAMED if name.startswith(old)), name)


def _ours(name: str) -> str:
    return next((old + name.removeprefix(new) for old, new in _RENAMED if name.startswith(new)), name)
