"""llama.cpp's quantised `.gguf` language models into a plain folder: config, tokenizer, safetensors.

transformers reads the format (with the `gguf` package) but refuses to save what it read, and reading takes
half a minute; so it is done once. The weights stay as coarse as the file has them: they are only written out.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch

from .. import manifest
from ..weights import WEIGHTS
from .published import require_published
from .request import ImportReport, ImportRequest, report
from .safe import Source
from .writing import importing, write_tensors

MAGIC = b"GGUF"
"""First bytes of the format."""


def import_gguf(request: ImportRequest) -> ImportReport:
    """Turn a `.gguf` file into a folder that `load_backbone` and AutoTokenizer read.

    Args:
        request: what to import (the file, or a folder with one), and where to.

    Returns:
        What was done. Tied embeddings are stored once, as transformers stores them.

    Raises:
        MissingPart: without a file, or without the `gguf` package.
        CheckpointCorrupt: when it is no GGUF file, damaged or has another hash.
        BadArgument: for an architecture that transformers does not know.
        WeightsMismatch: unless its tensors are exactly those of the model, and finite.
    """
    path = _find(request.source)
    digest = manifest.sha256(path)
    wanted = digest if request.sha256 is None else request.sha256.strip().lower()
    if wanted != digest:
        raise CheckpointCorrupt(f"{path.name} has the SHA-256 {digest}, expected {wanted}; fetch it again")
    if request.published:
        require_published(Source(path=path, sha256=digest, tensors={}))
    llm, tokenizer = _read(path)
    tensors = dict(llm.state_dict())
    if llm.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    source = Source(path=path, sha256=digest, tensors=tensors)
    with importing(request.destination, "gguf", source) as draft:
        llm.config.save_pretrained(draft)
        llm.generation_config.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        write_tensors(draft / WEIGHTS, tensors)
    note = "its weights are as coarse as the quantised file's; float32 on disk"
    return report(f"gguf {llm.config.model_type}", source, tensors, (note,))


def _find(source: Path) -> Path:
    """The file, or the only one of a folder."""
    if source.is_dir():
        found = sorted(source.glob("*.gguf"))
        if len(found) != 1:
            raise MissingPart(f"the folder {source.name} has {len(found)} .gguf files; name the file")
        source = found[0]
    if not source.is_file():
        raise MissingPart(f"found no file {source.name}, expected a .gguf language model; check the path")
    with source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CheckpointCorrupt(f"{source.name} is no GGUF file; expected llama.cpp's format")
    return source


def _read(path: Path) -> tuple[Any, Any]:
    """The model in float32 with a plain configuration, and its tokenizer."""
    if find_spec("gguf") is None:
        raise MissingPart(
            "reading .gguf files needs the `gguf` package: pip install 'anygen-multimodal[import]'"
        )
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        llm, info = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, output_loading_info=True, **where
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
    except ValueError as error:
        if "not supported" in str(error):
            raise BadArgument(
                f"{path.name}: found an architecture that transformers does not read from GGUF; expected "
                "one like llama, qwen2, mistral or gemma"
            ) from error
        raise _damaged(path) from error
    except (OSError, KeyError, IndexError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise _damaged(path) from error
    wrong = sorted([*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])])
    if wrong:
        raise WeightsMismatch(
            f"{path.name}: {len(wrong)} tensors are missing or do not fit (first: {wrong[0]}); fetch it again"
        )
    # what transformers remembers of the quantisation would make it refuse to load the folder
    for config in (llm.config, llm.generation_config):
        if hasattr(config, "quantization_config"):
            del config.quantization_config
    llm.config.architectures = [type(llm).__name__]
    return llm, tokenizer


def _damaged(path: Path) -> CheckpointCorrupt:
    return CheckpointCorrupt(f"{path.name} cannot be read as GGUF; fetch the file again")
