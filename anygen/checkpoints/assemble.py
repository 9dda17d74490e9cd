"""Puts a model folder together out of parts that ship and a language model that is installed apart."""

from __future__ import annotations

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anygen.assembly import ASSEMBLIES, Assembly
from anygen.config import AnyGenConfig, dumps, unknown_name
from anygen.errors import BadArgument, MissingPart
from anygen.presets import PRESETS
from anygen.tokens import SignalTokens

from . import manifest
from .folder import replacing
from .importers import ImportRequest, import_checkpoint
from .resolve import CONFIG, bundled_folder, bundled_part

_LLM_FILES = ("*.json", "*.safetensors")
_OTHER_FILES = frozenset(
    {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", manifest.NAME}
)


def make_model(name: str, folder: Path, *, llm: Path | None = None) -> AnyGenConfig:
    """Put a model together; its folder appears whole or not at all.

    Args:
        name: a name of `ASSEMBLIES`.
        folder: where to; must not exist, be empty, or be a model folder.
        llm: folder that `anygen import gguf` made, a `.gguf` file or a folder with one; None for that of the
            installed package.

    Returns:
        The model's configuration.

    Raises:
        BadArgument: for another name, a language model of another size, or other things at `folder`.
        MissingPart: without the language model.
        CheckpointCorrupt: for another file than the one that the parts were trained with.
    """
    if name not in ASSEMBLIES:
        raise BadArgument(unknown_name(name, ASSEMBLIES, "a model to put together"))
    config, assembly = PRESETS[name](), ASSEMBLIES[name]
    trained = bundled_folder() / name
    manifest.verify(trained)
    source = _installed(name, assembly) if llm is None else llm
    with replacing(folder) as draft, tempfile.TemporaryDirectory(dir=folder.parent) as place:
        if not (source / CONFIG).is_file():
            imported = Path(place) / "llm"
            request = ImportRequest(source=source, destination=imported, sha256=assembly.sha256)
            import_checkpoint("gguf", request)
            source = imported
        _put_llm(source, draft, config)
        for part in config.parts():
            shipped = bundled_part(name, part)
            if part != "llm" and shipped is not None:
                shutil.copytree(shipped, draft / part)
        shutil.copy2(trained / "README.md", draft / "README.md")
        (draft / CONFIG).write_text(dumps(config), encoding="utf-8")
    return config


def _installed(name: str, assembly: Assembly) -> Path:
    """Folder of the installed package that carries the language model; it is not imported."""
    package = find_spec(assembly.module)
    if package is None or not package.submodule_search_locations:
        raise MissingPart(
            f"the language model of {name} is not installed, expected the package {assembly.package}; type "
            f"{assembly.commands(name)}, or give its file with --llm"
        )
    return Path(package.submodule_search_locations[0])


def _put_llm(source: Path, draft: Path, config: AnyGenConfig) -> None:
    """Copy a language model, and its tokenizer with the signal tokens."""
    from transformers import AutoConfig, AutoTokenizer

    width = AutoConfig.from_pretrained(source, local_files_only=True).hidden_size
    if width != config.llm.hidden_dim:
        raise BadArgument(
            f"found a language model of width {width}, expected {config.llm.source} with "
            f"{config.llm.hidden_dim}; give that one"
        )
    (draft / "llm").mkdir()
    for pattern in _LLM_FILES:
        for path in source.glob(pattern):
            if path.name not in _OTHER_FILES:
                shutil.copy2(path, draft / "llm" / path.name)
    tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=True)
    SignalTokens.add_to(tokenizer, config.signal_tokens)
    tokenizer.save_pretrained(draft / "tokenizer")
