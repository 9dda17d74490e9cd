"""A model folder: assembled from it into a model, and written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anygen.config import AnyGenConfig, dumps, unknown_name
from anygen.errors import BadArgument, MissingPart
from anygen.llm import (
    base_state_dict,
    build_backbone,
    extend_vocabulary,
    load_adapter,
    load_backbone,
    save_adapter,
    save_backbone,
)
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.projections import GroupingProjection, InputProjection, OutputProjection
from anygen.tokens import SignalTokens

from . import manifest
from .lazy import LazyEncoder
from .resolve import CONFIG, has_encoder, open_encoder, part_folder, read_config
from .weights import check_keys, halve_weights, load_weights, read_shapes, save_weights

INPUT_PROJECTIONS: dict[str, type[InputProjection] | type[GroupingProjection]] = {
    "linear": InputProjection,
    "grouping": GroupingProjection,
}
"""Class of every kind of input projection."""

_MODEL_PARTS = ("input_projection", "llm", "adapter", "output_projections", "tokenizer")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What `load_model` gives."""

    config: AnyGenConfig
    """The folder's configuration."""
    model: AnyGenModel
    """Encoder (lazy), projections and language model; everything frozen, in evaluation mode."""
    tokenizer: Any
    """The language model's tokenizer, signal tokens included."""


def load_model(
    folder: Path,
    *,
    modalities: Iterable[Modality] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    verify: bool = True,
    llm_options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Assemble the model of a folder, without its decoders.

    Args:
        folder: a model folder (see `resolve`).
        modalities: inputs whose encoder towers are loaded now; empty for none, ever (media come as vectors);
            None loads a tower when it is first used.
        device: where everything goes.
        dtype: floating-point type in memory; the trained projections stay float32.
        verify: compare the files with the manifest first.
        llm_options: handed to transformers with the language model, such as quantization_config.

    Returns:
        Configuration, model and tokenizer.

    Raises:
        MissingPart: a part or its files are missing.
        CheckpointCorrupt: a file does not have the hash of the manifest.
        WeightsMismatch: weights do not fit the configuration.
    """
    if verify and (folder / CONFIG).is_file():
        manifest.verify(folder, [CONFIG, *_MODEL_PARTS])
    config = read_config(folder)
    tokenizer = _load_tokenizer(folder)
    tokens = SignalTokens.of(tokenizer, config.signal_tokens)
    model = AnyGenModel(
        llm=load_language_model(folder, config, tokens, dtype, **(llm_options or {})),
        tokens=tokens,
        input_projection=_load_input_projection(folder, config),
        output_projections={m: _load_output_projection(folder, config, m) for m in config.output_projections},
    )
    model = model.to(device).eval().requires_grad_(False)
    model.encoder = _load_encoder(folder, config, modalities, torch.device(device), dtype, verify)
    return LoadedModel(config=config, model=model, tokenizer=tokenizer)


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "tokenizer").is_dir():
        raise MissingPart("The model has no folder tokenizer, expected the language model's; fetch it again.")
    return AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)


def load_language_model(
    folder: Path, config: AnyGenConfig, tokens: SignalTokens, dtype: torch.dtype, **options: Any
) -> Any:
    """Load the language model of a folder with its signal rows and its adapter, on the CPU.

    Args:
        folder: a model folder.
        config: its configuration.
        tokens: control ids of its tokenizer.
        dtype: floating-point type of the base.
        options: as for `anygen.llm.load_backbone`.

    Returns:
        The `transformers` model, frozen, in evaluation mode.

    Raises:
        WeightsMismatch: weights do not fit the configuration.
        BadArgument: its width is not the configuration's.
    """
    source = part_folder(folder, "llm", config.llm)
    _check_backbone(source)
    llm = load_backbone(source, dtype=dtype, **options)
    if llm.config.hidden_size != config.llm.hidden_dim:
        raise BadArgument(
            f"the llm has width {llm.config.hidden_size}, {CONFIG} says {config.llm.hidden_dim}; correct it"
        )
    extend_vocabulary(llm, tokens.new_ids)
    load_adapter(llm, part_folder(folder, "adapter", config.adapter))
    return llm.eval().requires_grad_(False)


def _check_backbone(source: Path) -> None:
    """Compare the files with the model first: transformers fills what they lack with random numbers."""
    from transformers import AutoConfig

    with torch.device("meta"):
        empty = build_backbone(AutoConfig.from_pretrained(source, local_files_only=True))
    expected = base_state_dict(empty)
    if empty.config.tie_word_embeddings:
        expected.pop("lm_head.weight", None)
    check_keys(expected, read_shapes(source), "llm")


def build_input_projection(config: AnyGenConfig) -> Any:
    """Make the input projection that a configuration describes, with random weights.

    Args:
        config: the model's configuration.

    Returns:
        The projection.

    Raises:
        BadArgument: for a kind of projection that does not exist.
    """
    kind = config.input_projection.kind
    if kind not in INPUT_PROJECTIONS:
        raise BadArgument(unknown_name(kind, INPUT_PROJECTIONS, "a kind of input projection"))
    part = config.input_projection
    inside = {"inner_dim": part.inner_dim, "num_heads": part.num_heads} if kind == "grouping" else {}
    return INPUT_PROJECTIONS[kind](
        encoder_dim=config.encoder.embed_dim,
        llm_dim=config.llm.hidden_dim,
        num_tokens=part.num_tokens,
        **inside,
    )


def build_output_projection(config: AnyGenConfig, modality: Modality) -> OutputProjection:
    """Make the output projection of a modality, with random weights.

    Args:
        config: the model's configuration.
        modality: one that it generates.

    Returns:
        The projection.
    """
    part = config.output_projections[modality]
    return OutputProjection(
        llm_dim=config.llm.hidden_dim,
        cond_dim=part.cond_dim,
        num_queries=part.num_queries,
        inner_dim=part.inner_dim,
        num_encoder_layers=part.num_encoder_layers,
        num_decoder_layers=part.num_decoder_layers,
        num_heads=part.num_heads,
        ffn_dim=part.ffn_dim,
        normalize=part.normalize,
    )


def _load_input_projection(folder: Path, config: AnyGenConfig) -> Any:
    with torch.device("meta"):
        module = build_input_projection(config)
    source = part_folder(folder, "input_projection", config.input_projection)
    return load_weights(module, source, "input_projection")


def _load_output_projection(folder: Path, config: AnyGenConfig, modality: Modality) -> Any:
    name = f"output_projections/{modality.value}"
    with torch.device("meta"):
        module = build_output_projection(config, modality)
    return load_weights(module, part_folder(folder, name, config.output_projections[modality]), name)


def _load_encoder(
    folder: Path,
    config: AnyGenConfig,
    modalities: Iterable[Modality] | None,
    device: torch.device,
    dtype: torch.dtype,
    verify: bool,
) -> Any:
    wanted = None if modalities is None else list(modalities)
    if wanted == [] or (wanted is None and not has_encoder(folder, config.encoder)):
        return None
    source = open_encoder(folder, config.encoder)

    def check() -> None:
        if verify and (folder / "encoder").is_dir():
            manifest.verify(folder, ["encoder"])

    if wanted is None:
        return LazyEncoder(source, device=device, dtype=dtype, before=check)
    check()
    encoder: Any = source.load(wanted, dtype=dtype)
    return encoder.to(device).requires_grad_(False)


def save_model(
    folder: str | Path,
    *,
    config: AnyGenConfig,
    model: AnyGenModel,
    tokenizer: Any,
    encoder: Path | None = None,
    decoders: Mapping[Modality, Any] | None = None,
    card: str = "",
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a model folder; it appears whole, and an older one in its place is only removed then.

    Args:
        folder: where to; must not exist, be empty, or be a model folder.
        config: what the model is.
        model: projections and language model.
        tokenizer: the language model's, signal tokens included; or the folder of it to copy.
        encoder: encoder folder to copy; None leaves it out (a reference, or a model without one).
        decoders: per modality a decoder, or the folder of one to copy; others are left out.
        card: README.md, the model card.
        dtype: floating-point type of the weights on disk.

    Raises:
        BadArgument: when something else lies at `folder`.
    """
    with replacing(Path(folder)) as draft:
        (draft / CONFIG).write_text(dumps(config), encoding="utf-8")
        (draft / "README.md").write_text(
            card or f"# {config.name}\n\n{config.description}\n", encoding="utf-8"
        )
        if isinstance(tokenizer, Path):
            shutil.copytree(tokenizer, draft / "tokenizer")
        else:
            tokenizer.save_pretrained(draft / "tokenizer")
        save_backbone(model.llm, draft / "llm")
        save_adapter(model.llm, draft / "adapter")
        save_weights(model.input_projection, draft / "input_projection", dtype=dtype)
        for name, projection in model.output_projections.items():
            save_weights(projection, draft / "output_projections" / name, dtype=dtype)
        if encoder is not None:
            shutil.copytree(encoder, draft / "encoder")
        for modality, decoder in (decoders or {}).items():
            target = draft / "decoders" / modality.value
            if isinstance(decoder, Path):
                shutil.copytree(decoder, target)
            else:
                decoder.save_pretrained(target, dtype=dtype)
        halve_weights(draft, dtype)


@contextmanager
def replacing(folder: Path, *, mark: str = CONFIG) -> Iterator[Path]:
    """Give a draft folder that takes the place of another when everything in it is written.

    On leaving, hidden and temporary files aside, every file becomes readable by all (0644), the manifest is
    written, everything is flushed to disk, and the draft is renamed.

    Args:
        folder: where the draft goes in the end.
        mark: the file that says that an older folder is of the same kind and may go.

    Yields:
        The draft.

    Raises:
        BadArgument: when `folder` is a file, or a folder that is neither empty nor a model folder.
    """
    if folder.exists() and not folder.is_dir():
        raise BadArgument(f"{folder} is a file, expected a folder; name another place.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise BadArgument(f"{folder} holds other files and no model; name an empty or new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        _settle(draft)
        if folder.exists():
            folder.rename(old)
        try:
            draft.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        manifest.sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _settle(draft: Path) -> None:
    manifest.write(draft)
    for path in sorted(draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if path.is_dir():
            manifest.sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
