"""What a request may set, checked before anything is computed."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from anygen.config import AnyGenConfig, GenerationConfig, unknown_name
from anygen.decoders.defaults import MAX_INTERVAL
from anygen.decoders.schedulers import NAMED
from anygen.errors import BadArgument, MissingPart
from anygen.modality import GENERATED, Modality

LARGEST_SEED = 2**63 - 1

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types that a model may compute in, by the names that the command line takes."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that one option may have."""

    kind: type
    """int, float, bool or str."""
    low: float = -math.inf
    """Smallest value."""
    high: float = math.inf
    """Largest value."""
    multiple_of: int = 1
    """What a whole number must be a multiple of."""
    choices: tuple[str, ...] = ()
    """What a text may be."""

    def check(self, name: str, value: Any) -> Any:
        """Check a value.

        Args:
            name: name of the option, for the message.
            value: what was given.

        Returns:
            The value as `kind`.

        Raises:
            BadArgument: when it is of another type, not finite, or out of range.
        """
        if self.kind is bool:
            if not isinstance(value, bool):
                raise BadArgument(f"`{name}` is {_shown(value)}, expected True or False.")
            return value
        if self.kind is str:
            if value not in self.choices:
                raise BadArgument(f"`{name}` is {_shown(value)}, expected one of {', '.join(self.choices)}.")
            return value
        number = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
        allowed = (int, float) if self.kind is float else (int,)
        if isinstance(number, bool) or not isinstance(number, allowed) or not math.isfinite(number):
            raise BadArgument(f"`{name}` is {_shown(value)}, expected {self._words()}.")
        if not self.low <= number <= self.high or (self.kind is int and number % self.multiple_of):
            raise BadArgument(f"`{name}` is {_shown(value)}, expected {self._words()}.")
        return self.kind(number)

    def _words(self) -> str:
        noun = "a whole number" if self.kind is int else "a finite number"
        step = f" divisible by {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{noun}{step} from {self.low:g} to {self.high:g}"


def _shown(value: Any) -> str:
    return (
        repr(value)
        if isinstance(value, (int, float, str, bool)) and len(repr(value)) < 60
        else type(value).__name__
    )


_STEPS = Range(kind=int, low=1, high=1000)
_GUIDANCE = Range(kind=float, low=0, high=100)
_SIDE = Range(kind=int, low=8, high=4096, multiple_of=8)
_SAMPLING = {
    "num_inference_steps": _STEPS,
    "guidance_scale": _GUIDANCE,
    "scheduler": Range(kind=str, choices=tuple(NAMED)),
    "cache_interval": Range(kind=int, low=1, high=MAX_INTERVAL),
}

TEXT_OPTIONS: dict[str, Range] = {
    "max_new_tokens": Range(kind=int, low=1, high=100_000),
    "temperature": Range(kind=float, low=1e-3, high=100),
    "top_p": Range(kind=float, low=1e-6, high=1),
    "do_sample": Range(kind=bool),
}
"""Options of text generation."""

MEDIA_OPTIONS: dict[Modality, dict[str, Range]] = {
    Modality.IMAGE: {
        **_SAMPLING,
        "height": _SIDE,
        "width": _SIDE,
    },
    Modality.AUDIO: {
        **_SAMPLING,
        "audio_length_in_s": Range(kind=float, low=0.1, high=120),
    },
    Modality.VIDEO: {
        **_SAMPLING,
        "height": _SIDE,
        "width": _SIDE,
        "num_frames": Range(kind=int, low=1, high=512),
    },
}
"""Options of every decoder."""


def text_options(config: AnyGenConfig, given: Mapping[str, Any]) -> GenerationConfig:
    """Check the options of text generation and fill in the model's defaults.

    Args:
        config: the model's configuration.
        given: what the caller set; None stands for the default.

    Returns:
        All options.

    Raises:
        BadArgument: for an unknown name or a bad value.
    """
    return replace(config.generation, **_checked("an option", "", TEXT_OPTIONS, given))


def media_options(
    config: AnyGenConfig, given: Mapping[Modality, Mapping[str, Any] | None]
) -> dict[Modality, dict[str, Any]]:
    """Check the options of every decoder and fill in the model's defaults.

    Args:
        config: the model's configuration.
        given: per modality what the caller set.

    Returns:
        Per modality of the model the keyword arguments of its decoder; what neither the caller nor the
        model's configuration sets is left to the decoder.

    Raises:
        BadArgument: for an unknown name or a bad value.
        MissingPart: for options of a modality that the model does not make.
    """
    result: dict[Modality, dict[str, Any]] = {}
    for modality in GENERATED:
        label = f"{modality.value}_options"
        options = given.get(modality) or {}
        if not isinstance(options, Mapping):
            raise BadArgument(
                f"`{label}` is {_shown(options)}, expected a dict such as {{'guidance_scale': 3}}."
            )
        values = _checked(f"a field of `{label}`", f"{label}.", MEDIA_OPTIONS[modality], options)
        decoder = config.decoders.get(modality)
        if decoder is None:
            if values:
                raise MissingPart(f"Found `{label}`, but the model makes no {modality.value}; leave it out.")
            continue
        defaults = {name: getattr(decoder, name) for name in ("num_inference_steps", "guidance_scale")}
        result[modality] = {name: v for name, v in defaults.items() if v is not None} | values
    return result


def _checked(what: str, prefix: str, ranges: Mapping[str, Range], given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in ranges:
            raise BadArgument(unknown_name(str(name), ranges, what))
    return {name: ranges[name].check(prefix + name, v) for name, v in given.items() if v is not None}


def output_modalities(
    config: AnyGenConfig, outputs: Iterable[Modality | str] | None, *, compile: bool = False
) -> tuple[Modality, ...]:
    """Check `outputs=`, or `compile=`, which names media alone.

    Args:
        config: the model's configuration.
        outputs: modalities that the answer must have, or None.
        compile: whether it is `compile=`.

    Returns:
        The modalities, each once, in the order given; empty for None.

    Raises:
        BadArgument: for an unknown name.
        MissingPart: for one that the model does not make.
    """
    if outputs is None:
        return ()
    option = "compile" if compile else "outputs"
    valid = [*([] if compile else [Modality.TEXT.value]), *(m.value for m in GENERATED)]
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        raise BadArgument(f"`{option}` is {_shown(outputs)}, expected a list such as {valid[:2]}.")
    wanted: list[Modality] = []
    for name in outputs:
        if str(name) not in valid:
            raise BadArgument(f"`{option}`: {unknown_name(str(name), valid, 'an output')}")
        modality = Modality(str(name))
        if modality is not Modality.TEXT and modality not in config.decoders:
            made = ", ".join(["text", *(m.value for m in config.decoders)])
            raise MissingPart(f"`{option}` asks for {modality.value}, but the model makes only {made}.")
        if modality not in wanted:
            wanted.append(modality)
    if not wanted:
        raise BadArgument(f"`{option}` is empty, expected at least one of {', '.join(valid)}, or None.")
    return tuple(wanted)


def request_seeds(seed: int | Sequence[int] | None, count: int) -> list[int]:
    """Give every request of a batch its seed, so that it answers as it would alone with that seed.

    Args:
        seed: one number (request i gets seed + i), one number a request, or None to draw one.
        count: number of requests.

    Returns:
        `count` seeds.

    Raises:
        BadArgument: when it is no number of 0 to 2^63 - 1, or there are not as many as requests.
    """
    bounds = Range(kind=int, low=0, high=LARGEST_SEED)
    if seed is None:
        return [secrets.randbits(31) for _ in range(count)]
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if len(seed) != count:
            raise BadArgument(
                f"`seed` has {len(seed)} numbers, expected one for each of the {count} requests."
            )
        return [bounds.check("seed", value) for value in seed]
    first = bounds.check("seed", seed)
    return [(first + i) % (LARGEST_SEED + 1) for i in range(count)]


def derived_seed(seed: int, *what: str | int) -> int:
    """Derive the seed of one thing that is drawn for a request.

    Args:
        seed: the request's seed.
        *what: names of the thing, such as "image", 0.

    Returns:
        A seed of 63 bits that depends on nothing else, so neither on the batch nor on the order.
    """
    text = "/".join(str(value) for value in (seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def compute_device(device: str | torch.device | None) -> torch.device:
    """Where to compute.

    Args:
        device: as torch names it; None is the CPU.

    Raises:
        BadArgument: there is no such device.
    """
    try:
        place = torch.device(device or "cpu")
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError):
        raise BadArgument(f"`device` is {str(device)[:40]!r}, which is not available; use cpu.") from None
    if place.type == "meta":
        raise BadArgument("`device` is 'meta', which cannot compute; use cpu or cuda.")
    return place


def compute_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """What to compute in.

    Args:
        dtype: a name of `DTYPES` or one of their types; None is float32.

    Raises:
        BadArgument: there is no such type.
    """
    if dtype is None:
        return torch.float32
    kind = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if kind is None or kind not in DTYPES.values():
        raise BadArgument(unknown_name(str(dtype), DTYPES, "a dtype"))
    return kind
