"""NExT-GPT's published delta (`7b_tiva_v0`) into a model folder; deltas of single stages into its parts.

The delta has everything that trained: the adapter, the shared input projection, three output projections, and
the whole embedding and head, whose first 32000 rows therefore differ from Vicuna's. Those rows go into
`adapter/vocabulary.safetensors` and take the base's place when the model is loaded; the 38 new ones are the
signal rows. Its own loader never says what is missing; this one takes the exact set or nothing.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.config import AnyGenConfig, dumps
from anygen.errors import BadArgument, MissingPart
from anygen.modality import Modality
from anygen.presets import nextgpt
from anygen.tokens import DELIMITERS, SIGNAL_PREFIXES, SignalTokens

from ..folder import build_output_projection
from ..resolve import CONFIG
from ..weights import WEIGHTS
from .layout import HALF, Entry, Layout, check_layout, layout_of
from .lora import BASE, AdapterSizes, adapter_layout, write_adapter
from .request import ImportReport, ImportRequest, report
from .writing import importing, write_tensors

DELTA = "pytorch_model.pt"
"""File name of a delta."""
OUTPUTS = {
    Modality.IMAGE: "gen_text_hidden_fcs.0.",
    Modality.VIDEO: "gen_text_hidden_fcs_video.0.",
    Modality.AUDIO: "gen_text_hidden_fcs_audio.0.",
}
"""What the names of each output projection begin with."""
_INPUT = {"linear.weight": "llama_proj.weight", "linear.bias": "llama_proj.bias"}
_NOT_COPIED = (".*", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.py")
_VOCABULARY = {"embed_tokens": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}
_PLACES = {1: "llama_model.", 2: "llama_model.", 3: BASE}
"""Where the language model lies in the delta of each stage: peft wraps it in the third."""
_TRAINED: dict[str, Any] = {"licence": "CC-BY-NC-SA-4.0", "source": "imported from a delta of NExT-GPT"}


@dataclass(frozen=True, kw_only=True)
class DeltaSizes:
    """Sizes of a delta."""

    config: AnyGenConfig = field(
        default_factory=lambda: nextgpt(llm="Vicuna-7B v0", name="nextgpt-7b-tiva-v0")
    )
    """Projections and signal tokens."""
    vocab_size: int = 32000
    """Rows of the language model's own vocabulary."""
    adapter: AdapterSizes = field(default_factory=AdapterSizes)
    """Language model and adapter."""

    @property
    def num_rows(self) -> int:
        """Rows of the delta's embedding and head: the vocabulary, the delimiters and the signal tokens."""
        return self.vocab_size + len(DELIMITERS) + sum(self.config.signal_tokens.values())


def delta_layout(sizes: DeltaSizes | None = None, stage: int = 3) -> Layout:
    """Every tensor of a delta: 647 for the published one, 396,045,568 numbers.

    Args:
        sizes: None for the published ones.
        stage: 3 for the published kind; 1 and 2 have their own part and other names for the language model.

    Returns:
        Names, shapes and types.
    """
    sizes = sizes or DeltaSizes()
    width, encoder_dim = sizes.adapter.hidden_dim, sizes.config.encoder.embed_dim
    layout = {_PLACES[stage] + name: Entry((sizes.num_rows, width), HALF) for name in _VOCABULARY.values()}
    if stage == 3:
        layout |= adapter_layout(sizes.adapter)
    if stage != 2:
        layout["llama_proj.weight"] = Entry((width, encoder_dim), HALF)
        layout["llama_proj.bias"] = Entry((width,), HALF)
    if stage != 1:
        for modality, prefix in OUTPUTS.items():
            with torch.device("meta"):
                layout |= layout_of(build_output_projection(sizes.config, modality), prefix, HALF)
    return layout


def find_stage(names: Mapping[str, Any]) -> int:
    """Tell the stage of a delta from its names; the exact comparison comes afterwards.

    Args:
        names: its tensors.

    Returns:
        1, 2 or 3.
    """
    if any(".lora_" in name or name.startswith(BASE) for name in names):
        return 3
    return 2 if any(name.startswith("gen_text_hidden_fcs") for name in names) else 1


def import_nextgpt(request: ImportRequest, sizes: DeltaSizes | None = None) -> ImportReport:
    """Import a delta, with the tokenizer that lies beside it.

    Args:
        request: what to import, and where to; `encoder` and `llm` are copied into the model folder.
        sizes: None for the published ones.

    Returns:
        What was done. A delta of stage 3 becomes a model folder, one of stage 1 or 2 the parts it trained.

    Raises:
        MissingPart: when the file or its tokenizer is missing.
        CheckpointCorrupt: when the file is damaged or no plain tensors.
        WeightsMismatch: unless its tensors are exactly those of a delta.
        BadArgument: when the tokenizer does not give the signal tokens the ids of the delta's rows.
    """
    sizes = sizes or DeltaSizes()
    source = request.open(DELTA)
    stage = find_stage(source.tensors)
    what = f"{source.path.name} (stage {stage})"
    tensors = check_layout(source.tensors, delta_layout(sizes, stage), what)
    tokenizer = load_tokenizer(request.tokenizer or request.folder, sizes)
    with importing(request.destination, "nextgpt", source) as draft:
        _write_parts(draft, tensors, sizes, stage)
        tokenizer.save_pretrained(draft / "tokenizer")
        if stage == 3:
            _write_model(draft, request, sizes.config)
    return report(f"nextgpt stage {stage}", source, tensors, _notes(request, stage))


def _write_parts(draft: Path, tensors: dict[str, Tensor], sizes: DeltaSizes, stage: int) -> None:
    rows = {name: tensors[_PLACES[stage] + old] for name, old in _VOCABULARY.items()}
    # slices of a mapped tensor: nothing is read before it is written
    write_tensors(
        draft / "adapter" / "vocabulary.safetensors", {n: t[: sizes.vocab_size] for n, t in rows.items()}
    )
    write_tensors(
        draft / "adapter" / "signal_rows.safetensors", {n: t[sizes.vocab_size :] for n, t in rows.items()}
    )
    if stage == 3:
        write_adapter(draft / "adapter", tensors, sizes.adapter)
    if stage != 2:
        write_tensors(
            draft / "input_projection" / WEIGHTS, {new: tensors[old] for new, old in _INPUT.items()}
        )
    if stage != 1:
        for modality, prefix in OUTPUTS.items():
            part = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            write_tensors(draft / "output_projections" / modality.value / WEIGHTS, part)


def _write_model(draft: Path, request: ImportRequest, config: AnyGenConfig) -> None:
    config = dataclasses.replace(
        config,
        input_projection=dataclasses.replace(config.input_projection, **_TRAINED),
        adapter=dataclasses.replace(config.adapter, **_TRAINED),
        output_projections={
            # the published model hands its audio vector on as it is
            m: dataclasses.replace(part, normalize=False, **_TRAINED)
            for m, part in config.output_projections.items()
        },
    )
    (draft / CONFIG).write_text(dumps(config), encoding="utf-8")
    (draft / "README.md").write_text(
        f"# {config.name}\n\n{config.description}\n\nImported; CC-BY-NC-SA-4.0, and its parts' licences.\n",
        encoding="utf-8",
    )
    for name, folder in (("encoder", request.encoder), ("llm", request.llm)):
        if folder is not None:
            if not (folder / CONFIG).is_file() or not any(folder.glob("*.safetensors")):
                raise MissingPart(
                    f"the {name} folder {folder.name} has no {CONFIG} and safetensors; import it first"
                )
            shutil.copytree(folder, draft / name, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def _notes(request: ImportRequest, stage: int) -> tuple[str, ...]:
    if stage != 3:
        return (f"parts of stage {stage}: put them into a model folder",)
    missing = []
    if request.encoder is None:
        missing.append("no encoder yet: import ImageBind and give it with --encoder")
    if request.llm is None:
        missing.append("no language model yet: give the merged Vicuna-7B v0 in safetensors with --llm")
    return tuple(missing)


def load_tokenizer(folder: Path, sizes: DeltaSizes) -> Any:
    """Read the delta's own tokenizer, and make its signal tokens special.

    Args:
        folder: the delta's.
        sizes: of the delta.

    Returns:
        The tokenizer.

    Raises:
        MissingPart: when the folder has none.
        BadArgument: when an id is not that of the delta's row: a tokenizer of another model.
    """
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise MissingPart(
            "the delta's folder has no tokenizer.model, expected it beside the weights; fetch the whole "
            "folder (another tokenizer gives other ids)"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, OSError, ValueError, TypeError):
        raise MissingPart(
            f"the tokenizer of {folder.name} cannot be read as a LLaMA tokenizer; fetch the whole "
            "folder, and install sentencepiece for a tokenizer.model"
        ) from None
    names = [*DELIMITERS]
    for modality, prefix in SIGNAL_PREFIXES.items():
        names += [f"[{prefix}{i}]" for i in range(sizes.config.signal_tokens[modality])]
    vocabulary = tokenizer.get_vocab()
    for index, name in enumerate(names, sizes.vocab_size):
        found = vocabulary.get(name)
        if found != index:
            raise BadArgument(
                f"the tokenizer has {name} at {'no id' if found is None else found}, expected {index}; "
                "take the tokenizer from the delta's folder"
            )
    special = [AddedToken(name, special=True, normalized=False) for name in names]
    tokenizer.add_tokens(special, special_tokens=True)
    SignalTokens.of(tokenizer, sizes.config.signal_tokens)
    return tokenizer
