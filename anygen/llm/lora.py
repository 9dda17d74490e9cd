"""The low-rank adapter (LoRA, Hu et al., arXiv 2106.09685) of the language model, and the adapter folder.

The folder holds what training changed in the language model and nothing else: peft's own two files, which
`peft.PeftModel` reads too, and the rows of the signal tokens. Full embeddings never travel (peft's own saving
adds them when it thinks that a vocabulary was resized: 2 x 262 MB at 7B).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch

from .backbone import row_parameters, set_rows_enabled

ATTENTION_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Layers that get an adapter: 33.6 M parameters at rank 32 in Vicuna-7B, as published."""

ADAPTER_NAME = "default"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ROWS_WEIGHTS = "signal_rows.safetensors"
VOCABULARY_WEIGHTS = "vocabulary.safetensors"
"""Rows of the base's embedding and head that a foreign training changed; our own stages never write it."""
_PREFIX = "base_model.model."


def add_lora(
    llm: Any,
    *,
    rank: int = 32,
    alpha: int = 32,
    dropout: float = 0.1,
    target_modules: Sequence[str] = ATTENTION_PROJECTIONS,
) -> None:
    """Put a fresh adapter into a model; it changes nothing until it is trained.

    Args:
        llm: a `transformers` causal language model, changed in place; all its other parameters are frozen.
        rank: inner width.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the adapter's input dropped in training.
        target_modules: names of the linear layers that get one.

    Raises:
        BadArgument: when the model has an adapter already.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules),
        task_type="CAUSAL_LM", bias="none",
    )  # fmt: skip
    _inject(llm, config)


def _inject(llm: Any, config: LoraConfig) -> None:
    if has_lora(llm):
        raise BadArgument("the language model has an adapter already, expected none; load it anew")
    inject_adapter_in_model(config, llm, adapter_name=ADAPTER_NAME)
    llm.train(llm.training)  # new modules start in training mode: their dropout would stay on in evaluation
    for parameter in lora_parameters(llm).values():
        parameter.data = parameter.data.float()


def _layers(llm: Any) -> list[BaseTunerLayer]:
    return [module for module in llm.modules() if isinstance(module, BaseTunerLayer)]


def has_lora(llm: Any) -> bool:
    """Whether a model has an adapter."""
    return bool(_layers(llm))


def lora_parameters(llm: Any) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their names in the model."""
    return {name: p for name, p in llm.named_parameters() if ".lora_" in name}


@contextmanager
def adapter_disabled(llm: Any) -> Iterator[None]:
    """Make a model answer as its base does, bit by bit: no adapter, no new rows in the head.

    Args:
        llm: a model with new rows and perhaps an (unmerged) adapter.
    """
    layers = _layers(llm)
    # peft's switch also sets what trains, which is not its business: remember it and put it back
    training = {p: p.requires_grad for p in lora_parameters(llm).values()}
    for layer in layers:
        layer.enable_adapters(False)
    set_rows_enabled(llm, False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, trains in training.items():
            parameter.requires_grad_(trains)
        set_rows_enabled(llm, True)


def merge_lora(llm: Any) -> None:
    """Add the adapter into the base weights, for faster inference; `unmerge_lora` takes it out again."""
    for layer in _layers(llm):
        layer.merge(safe_merge=False)


def unmerge_lora(llm: Any) -> None:
    """Take a merged adapter out of the base weights; they come back up to rounding."""
    for layer in _layers(llm):
        layer.unmerge()


def save_adapter(llm: Any, folder: str | Path) -> None:
    """Write the adapter folder.

    Args:
        llm: a model with new rows and perhaps an adapter.
        folder: where to; made if missing. Without an adapter only the rows are written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_contiguous(row_parameters(llm)), folder / ROWS_WEIGHTS, metadata={"format": "pt"})
    if has_lora(llm):
        config = copy.copy(llm.peft_config[ADAPTER_NAME])
        config.base_model_name_or_path = None  # a path of this machine means nothing elsewhere
        config.inference_mode = True
        config.target_modules = sorted(config.target_modules or ())  # peft keeps a set: its order is chance
        config.save_pretrained(folder)
        state = {_PREFIX + _short(name): p for name, p in lora_parameters(llm).items()}
        save_file(_contiguous(state), folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def load_adapter(llm: Any, folder: str | Path) -> None:
    """Read an adapter folder into a model that has new rows and no adapter.

    Args:
        llm: changed in place; nothing of it is left trainable.
        folder: what `save_adapter` wrote.

    Raises:
        MissingPart: when the folder has no rows.
        WeightsMismatch: unless the names and shapes are exactly the model's.
        CheckpointCorrupt: for a file that is no safetensors file.
    """
    folder = Path(folder)
    if not (folder / ROWS_WEIGHTS).is_file():
        raise MissingPart(f"the adapter has no {ROWS_WEIGHTS}, expected it; fetch the model again")
    _fill(row_parameters(llm), _read(folder / ROWS_WEIGHTS), ROWS_WEIGHTS)
    if (folder / ADAPTER_WEIGHTS).is_file():
        _inject(llm, LoraConfig.from_pretrained(str(folder)))
        names = {_PREFIX + _short(name): p for name, p in lora_parameters(llm).items()}
        _fill(names, _read(folder / ADAPTER_WEIGHTS), ADAPTER_WEIGHTS)
    if (folder / VOCABULARY_WEIGHTS).is_file():
        _replace_vocabulary(llm, _read(folder / VOCABULARY_WEIGHTS))
    llm.requires_grad_(False)


@torch.no_grad()
def _replace_vocabulary(llm: Any, rows: dict[str, Tensor]) -> None:
    """Put other rows in the place of the base's first ones; spare rows behind them stay."""
    layers = {"embed_tokens": llm.get_input_embeddings().base, "lm_head": llm.get_output_embeddings().base}
    for name, layer in layers.items():
        found, weight = rows.get(name), layer.weight
        if found is None or found.shape[0] > weight.shape[0] or found.shape[1:] != weight.shape[1:]:
            shape = "missing" if found is None else tuple(found.shape)
            raise WeightsMismatch(
                f"{VOCABULARY_WEIGHTS}: found {name} {shape}, expected at most {tuple(weight.shape)}; use "
                "the language model that the adapter was trained with"
            )
        weight[: found.shape[0]].copy_(found)


def _short(name: str) -> str:
    """Name of an adapter weight in a file: without the adapter's name."""
    return name.replace(f".{ADAPTER_NAME}.", ".")


def _contiguous(tensors: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().cpu().contiguous() for name, p in tensors.items()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError):
        raise CheckpointCorrupt(
            f"{path.name} cannot be read, expected a safetensors file; fetch the model again"
        ) from None


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], state: dict[str, Tensor], file: str) -> None:
    """Copy a state into parameters of exactly its names and shapes."""
    found = {name: tuple(t.shape) for name, t in state.items()}
    expected = {name: tuple(p.shape) for name, p in parameters.items()}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise WeightsMismatch(
                f"{file}: found {name} {found.get(name, 'missing')}, expected {expected.get(name, 'none')}; "
                "use the language model and tokenizer that the adapter was trained with"
            )
    for name, parameter in parameters.items():
        parameter.copy_(state[name])
