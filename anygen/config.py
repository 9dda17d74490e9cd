"""What a model folder's `config.json` says: which parts there are, their sizes, how to generate with them.

The configuration holds what is needed to assemble the parts. What a part alone must know (the layers of the
encoder, of the language model, of a decoder) lies in that part's own folder, beside its weights.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from .errors import BadArgument, CheckpointCorrupt
from .modality import GENERATED, Modality
from .parts import EncoderConfig, InputProjectionConfig, Part, Reference, TowerConfig, positive

__all__ = [
    "FORMAT_VERSION",
    "AnyGenConfig",
    "DecoderConfig",
    "EncoderConfig",
    "GenerationConfig",
    "InputProjectionConfig",
    "LanguageModelConfig",
    "OutputProjectionConfig",
    "Part",
    "Reference",
    "TowerConfig",
    "dumps",
    "from_json",
    "read_json",
    "to_json",
    "unknown_name",
]

FORMAT_VERSION = 1
"""Version of the folder format that this code reads and writes."""

T = TypeVar("T")


def unknown_name(found: str, valid: Iterable[str], what: str) -> str:
    """Say in one line that a name is unknown, which one is nearest and which there are.

    Args:
        found: the name that was given.
        valid: the names that exist.
        what: what the name stands for, such as "a field of `image_options`".

    Returns:
        One sentence: found, expected, what to do.
    """
    names = sorted(str(name) for name in valid)
    near = difflib.get_close_matches(found, names, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    shown = found if len(found) <= 60 else found[:57] + "..."
    return f"`{shown}` is not {what}; {hint}Valid: {', '.join(names) if names else 'none'}."


def to_json(value: Any) -> Any:
    """Turn a dataclass (or a value inside one) into what `json.dumps` takes.

    Args:
        value: dataclass, mapping, sequence, enum, path-free scalar or None.

    Returns:
        The same as dicts, lists and scalars, with fields in their declared order.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(to_json(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], data: Any, *, where: str = "") -> T:
    """Build a dataclass from parsed JSON, refusing what it does not know.

    Args:
        cls: dataclass to build; nested dataclasses, `dict`, `tuple[X, ...]`, enums, `X | None` and scalars
            are understood.
        data: what `json.loads` gave.
        where: name of the place for messages, such as "config.json".

    Returns:
        An instance of `cls`.

    Raises:
        BadArgument: for an unknown or missing key or a value of another type; names the nearest key.
    """
    place = where or cls.__name__
    if not isinstance(data, Mapping):
        kind = _kind(data)
        raise BadArgument(f"{place}: found {kind}, expected an object with the fields of {cls.__name__}.")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise BadArgument(f"{place}: {unknown_name(str(key), fields, 'a field here')}")
    missing = [
        name
        for name, f in fields.items()
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise BadArgument(f"{place}: the field(s) {', '.join(missing)} are missing; add them.")
    values = {key: _convert(hints[key], item, f"{place}: {key}") for key, item in data.items()}
    try:
        return cls(**values)
    except BadArgument as error:
        raise BadArgument(f"{place}: {error}") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
    return "nothing" if value is None else names.get(type(value), "a number")


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (hint,) = [a for a in args if a is not type(None)]
        return _convert(hint, value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where=where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list):
            raise BadArgument(f"{where}: found {_kind(value)}, expected a list.")
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise BadArgument(f"{where}: found {_kind(value)}, expected an object.")
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise BadArgument(f"{where}: {unknown_name(str(value), typing.get_args(hint), 'a value here')}")
        return value
    if isinstance(hint, type) and issubclass(hint, Enum):
        valid = [member.value for member in hint]
        if value not in valid:
            raise BadArgument(f"{where}: {unknown_name(str(value), valid, f'a {hint.__name__.lower()}')}")
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise BadArgument(f"{where}: found {_kind(value)}, expected {names.get(hint, hint)}.")
    if hint is float and not math.isfinite(value):
        raise BadArgument(f"{where}: found {value}, expected a finite number.")
    return value


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(Part):
    """The causal language model; its layers are described in `llm/config.json`."""

    hidden_dim: int
    """Width of its hidden states."""
    context_length: int = 2048
    """Most tokens that a conversation with its answer may take."""

    def __post_init__(self) -> None:
        positive("hidden_dim", self.hidden_dim)
        positive("context_length", self.context_length)


@dataclass(frozen=True, kw_only=True)
class OutputProjectionConfig(Part):
    """From the hidden states at one group of signal tokens to one decoder's conditioning."""

    num_queries: int
    """Conditioning tokens: 77 for CLIP text encoders at full size, 1 for CLAP."""
    cond_dim: int
    """Width of the conditioning: 768 for Stable Diffusion 1.x, 1024 for Zeroscope, 512 for AudioLDM."""
    inner_dim: int = 512
    """Width inside the transformer."""
    num_encoder_layers: int = 4
    """Layers over the signal states."""
    num_decoder_layers: int = 4
    """Layers over the learned queries."""
    num_heads: int = 4
    """Attention heads."""
    ffn_dim: int = 2048
    """Width of the feed-forward layers."""
    normalize: bool = False
    """Give the conditioning unit norm, as the CLAP embeddings of AudioLDM have."""

    def __post_init__(self) -> None:
        for name in ("num_queries", "cond_dim", "inner_dim", "num_encoder_layers", "num_decoder_layers"):
            positive(name, getattr(self, name))
        for name in ("num_heads", "ffn_dim"):
            positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(Part):
    """A latent-diffusion decoder; its layers are described in its own diffusers folder."""

    num_inference_steps: int | None = None
    """Denoising steps when the caller names none; None leaves it to the decoder's own default."""
    guidance_scale: float | None = None
    """Weight of classifier-free guidance when the caller names none (1 turns it off); None likewise."""

    def __post_init__(self) -> None:
        if self.num_inference_steps is not None:
            positive("num_inference_steps", self.num_inference_steps)
        if self.guidance_scale is not None and not (0 <= self.guidance_scale < math.inf):
            raise BadArgument(f"`guidance_scale` is {self.guidance_scale}, expected 0 or more.")


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Text generation when the caller names nothing."""

    max_new_tokens: int = 256
    """Most tokens of one answer, signal tokens included."""
    temperature: float = 1.0
    """Softmax temperature when sampling."""
    top_p: float = 1.0
    """Share of the probability mass that is sampled from."""
    do_sample: bool = False
    """Draw tokens; otherwise take the most probable one."""
    max_media_parts: int = 8
    """Most images, sounds and videos in one answer."""

    def __post_init__(self) -> None:
        positive("max_new_tokens", self.max_new_tokens)
        positive("max_media_parts", self.max_media_parts)


@dataclass(frozen=True, kw_only=True)
class AnyGenConfig:
    """A whole model: every part, the signal tokens and the defaults."""

    format_version: int = FORMAT_VERSION
    """Version of the folder format."""
    name: str
    """Name of the model, shown to people and written into what it makes."""
    description: str = ""
    """One line on what the model is."""
    chat_template: str = "vicuna"
    """How a conversation becomes a prompt: a name that `anygen.prompting` knows."""
    encoder: EncoderConfig
    """The multimodal encoder."""
    input_projection: InputProjectionConfig
    """From encoder to language model."""
    llm: LanguageModelConfig
    """The language model."""
    adapter: Part = field(default_factory=Part)
    """Low-rank adapter and signal-token rows of the language model (peft)."""
    output_projections: dict[Modality, OutputProjectionConfig]
    """From signal states to conditioning, for each modality that can be generated."""
    decoders: dict[Modality, DecoderConfig]
    """The decoder of each modality that can be generated."""
    signal_tokens: dict[Modality, int]
    """Signal tokens per group, for each modality that can be generated."""
    lead_ins: dict[Modality, str] = field(default_factory=dict)
    """Words said before a modality is forced, so that the model goes on to say what is shown, as taught."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """Defaults of text generation."""

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise BadArgument(
                f"the model has format version {self.format_version}, this anygen reads {FORMAT_VERSION}; "
                "install the anygen version that wrote it."
            )
        if not self.name:
            raise BadArgument("`name` is empty, expected the model's name.")
        tables: dict[str, Mapping[Modality, Any]] = {
            "signal_tokens": self.signal_tokens,
            "output_projections": self.output_projections,
            "decoders": self.decoders,
        }
        for label, table in tables.items():
            wrong = [m.value for m in table if m not in GENERATED]
            if wrong:
                raise BadArgument(f"`{label}` has {wrong[0]}, expected only image, audio and video.")
            if set(table) != set(self.signal_tokens):
                raise BadArgument(
                    f"`{label}` has {_names(table)} but `signal_tokens` has {_names(self.signal_tokens)}; "
                    "give both the same modalities."
                )
        for modality, count in self.signal_tokens.items():
            positive(f"signal_tokens.{modality.value}", count)

    def parts(self) -> dict[str, Part]:
        """Every part by its folder name.

        Returns:
            Parts in the order of the data: encoder (or its towers) first, decoders last.
        """
        table: dict[str, Part] = {f"encoder/{name}": tower for name, tower in self.encoder.towers.items()}
        table |= {
            **({} if table else {"encoder": self.encoder}),
            "input_projection": self.input_projection,
            "llm": self.llm,
            "adapter": self.adapter,
        }
        table |= {f"output_projections/{m.value}": p for m, p in self.output_projections.items()}
        return table | {f"decoders/{m.value}": p for m, p in self.decoders.items()}


def _names(table: Iterable[Modality]) -> str:
    return ", ".join(sorted(m.value for m in table)) or "none"


def read_json(path: Path) -> Any:
    """Parse a JSON file of a model folder.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        CheckpointCorrupt: when it is not JSON; the message names the file, not its folder.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise CheckpointCorrupt(
            f"{path.name} is not valid JSON, expected the file that anygen wrote; fetch the model again."
        ) from None


def dumps(config: Any) -> str:
    """Write a configuration as JSON text.

    Args:
        config: a dataclass of this module.

    Returns:
        Indented JSON with a final newline.
    """
    return json.dumps(to_json(config), indent=2, ensure_ascii=True) + "\n"
