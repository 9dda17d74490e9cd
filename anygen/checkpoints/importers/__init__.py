"""Official checkpoints into safetensors folders: strictly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from anygen.config import unknown_name
from anygen.errors import BadArgument

from .request import ImportReport, ImportRequest

__all__ = ["IMPORTERS", "ImportReport", "ImportRequest", "import_checkpoint"]

IMPORTERS: dict[str, tuple[str, str, str]] = {
    "imagebind": (
        "imagebind",
        "import_imagebind",
        "imagebind_huge.pth or its safetensors: an encoder folder",
    ),
    "nextgpt": ("nextgpt", "import_nextgpt", "NExT-GPT's 7b_tiva_v0 folder: a model folder"),
    "nextgpt-refactor": ("refactor", "import_refactor", "mm_*_projector.bin of NExT-GPT's later code: parts"),
    "languagebind": (
        "languagebind",
        "import_languagebind",
        "a LanguageBind folder: plain CLIP, adapter merged",
    ),
    "pandagpt": ("pandagpt", "import_pandagpt", "PandaGPT's delta: input projection and adapter"),
    "llava": ("llava", "import_llava", "LLaVA's mm_projector.bin: an input projection"),
    "audioldm": ("audioldm", "import_audioldm", "AudioLDM's original checkpoint: a decoder folder"),
    "gguf": ("gguf", "import_gguf", "a quantised .gguf language model: a plain folder with its tokenizer"),
    "folder": (
        "official",
        "import_folder",
        "an official folder with .bin weights: the same with safetensors",
    ),
}
"""Module, function and one line of help of every importer."""


def import_checkpoint(kind: str, request: ImportRequest) -> ImportReport:
    """Import a checkpoint of another project.

    Args:
        kind: a name of `IMPORTERS`. "nextgpt" also takes a folder of the later code's projector files.
        request: what to import, and where to.

    Returns:
        What was done; on any error nothing is written.

    Raises:
        BadArgument: for an unknown kind.
        AnyGenError: whatever the importer finds wrong.
    """
    if kind not in IMPORTERS:
        raise BadArgument(unknown_name(kind, IMPORTERS, "a kind of checkpoint"))
    if kind == "nextgpt" and _is_refactor(request):
        kind = "nextgpt-refactor"
    module, function, _ = IMPORTERS[kind]
    run: Callable[[ImportRequest], ImportReport] = getattr(import_module(f".{module}", __name__), function)
    return run(request)


def _is_refactor(request: ImportRequest) -> bool:
    from .refactor import FILES

    if request.source.is_dir():
        delta = (request.source / "pytorch_model.pt").is_file()
        return not delta and any((request.source / name).is_file() for name in FILES)
    return request.source.name in FILES
