"""Reading one part of a decoder's folder: strict about weights, lenient about the marks of old versions."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch

from ..errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from .schedulers import scheduler_class

TOKENIZERS = ("CLIPTokenizer", "RobertaTokenizer", "T5Tokenizer", "GPT2Tokenizer")
"""Classes that a folder's `model_index.json` may name for a tokenizer that does not name its own."""


def read_json(path: Path, fallback: str | None = None) -> dict[str, Any]:
    """A JSON object of a decoder folder.

    Args:
        path: The file.
        fallback: JSON text to read where there is no file; None makes that an error.

    Raises:
        MissingPart: There is no file.
        CheckpointCorrupt: It holds no JSON object.
    """
    if not path.is_file():
        if fallback is not None:
            return json.loads(fallback)
        raise MissingPart(
            f"{path.parent.name}/{path.name}: found nothing, expected a JSON file; fetch the whole decoder"
        )
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise CheckpointCorrupt(
            f"{path.parent.name}/{path.name}: found no JSON object, expected one; fetch the file again"
        ) from None


def tokenizer_length(folder: Path, usual: int = 128) -> int:
    """Most tokens of a text: the tokenizer's `model_max_length`, or what is usual where it says none."""
    length = read_json(folder / "tokenizer_config.json", "{}").get("model_max_length", usual)
    return int(length) if isinstance(length, int) and 0 < length < 10_000 else usual


def load_scheduler(source: Path) -> Any:
    """A scheduler by the class that its config names."""
    name = str(read_json(source / "scheduler_config.json").get("_class_name"))
    return scheduler_class(name).from_pretrained(str(source), local_files_only=True)


def load_tokenizer(source: Path, named: str | None) -> Any:
    """A tokenizer, fast or slow.

    Args:
        source: Its folder: `tokenizer.json`, or the older vocabulary files.
        named: The class that `model_index.json` gives it, used where the folder itself names none.
    """
    transformers = importlib.import_module("transformers")
    says = read_json(source / "tokenizer_config.json", "{}").get("tokenizer_class")
    plain = str(named).removesuffix("Fast")
    if says is None and plain in TOKENIZERS:
        return getattr(transformers, plain).from_pretrained(str(source), local_files_only=True)
    return transformers.AutoTokenizer.from_pretrained(str(source), local_files_only=True)


def load_network(
    name: str, library: str, class_name: str, source: Path, *, dtype: torch.dtype, modality: str
) -> Any:
    """A network with exactly the weights of its class, on the CPU, frozen and in eval mode.

    Args:
        name: What the decoder calls it.
        library: Where its class is.
        class_name: Its class.
        source: Its folder.
        dtype: Floating-point type.
        modality: What the decoder makes, for messages.

    Raises:
        MissingPart: There are no safetensors weights.
        WeightsMismatch: It is of another class, or weights are missing, left over or misshapen.
    """
    part_class = getattr(importlib.import_module(library), class_name)
    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise MissingPart(
            f"{modality} decoder: found no safetensors weights in {name}, expected "
            "*.safetensors; pickles are not read, convert them with `anygen import`"
        )
    found = read_json(source / "config.json").get("_class_name", class_name)
    if found != class_name:
        raise WeightsMismatch(
            f"{name}: found a {found}, expected a {class_name}; pass the decoder's own folder"
        )
    half = {"variant": "fp16"} if all(".fp16" in file.name for file in files) else {}
    module, report = part_class.from_pretrained(
        str(source),
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        dtype=dtype,
        **half,
    )
    _check_report(name, report)
    return module.eval().requires_grad_(False)


def _check_report(name: str, report: dict[str, Any]) -> None:
    missing = sorted(map(str, report["missing_keys"]))
    unexpected = sorted(
        str(key) for key in report["unexpected_keys"] if not str(key).endswith("position_ids")
    )
    misshapen = list(map(str, report["mismatched_keys"]))
    if missing or unexpected or misshapen:
        raise WeightsMismatch(
            f"{name}: found {len(missing)} missing, {len(unexpected)} unexpected and "
            f"{len(misshapen)} misshapen weights (first: {[*missing, *unexpected, *misshapen][0]}), "
            "expected none; fetch the folder again"
        )


def check_compile(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """BadArgument where a part to be compiled is none of the decoder's."""
    for name in names:
        if name not in known:
            raise BadArgument(f"compile: found {name!r}, expected names of {', '.join(known)}; leave it out")
