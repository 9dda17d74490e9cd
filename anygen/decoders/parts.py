"""One decoder as a folder in its family's layout, loaded part by part."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import from_json, to_json
from ..errors import BadArgument, MissingPart
from ..modality import Modality
from .base import ConditioningSpec
from .defaults import DecoderDefaults
from .layouts import CLASSES, PIPELINES, Layout, check_variant, geometry, layout_of, optional
from .loading import check_compile, load_network, load_scheduler, load_tokenizer, read_json
from .preview import fit_preview
from .text import context_tokens, encode_text

__all__ = ["CLASSES", "EXTRAS_FILE", "PIPELINES", "UNCONDITIONAL_FILE", "DecoderDefaults", "DecoderParts"]

EXTRAS_FILE = "decoder.json"
"""Our own file in the folder; official folders have none and get their layout's defaults."""
UNCONDITIONAL_FILE = "unconditional.safetensors"
"""Embedding of the empty text, so that guidance works without a text encoder."""


@dataclass(frozen=True, kw_only=True)
class _Extras:
    """Contents of `decoder.json`."""

    spec: ConditioningSpec
    """What the UNet is conditioned on."""
    defaults: DecoderDefaults
    """How to sample."""
    preview: tuple[tuple[float, ...], ...] = field(default=())
    """Rows of the latent-to-color map; empty where it was never fitted."""


class DecoderParts:
    """The modules of one decoder, in memory or still in their folder.

    Args:
        modality: IMAGE, AUDIO or VIDEO.
        modules: Parts that are in memory already, by name.
        spec: What the denoiser is conditioned on.
        defaults: How to sample when the caller says nothing.
        layout: Its family; None is the modality's first: Stable Diffusion, AudioLDM or Zeroscope.
        folder: Where parts that are not in memory lie.
        device: Where loaded parts go.
        dtype: Floating-point type of loaded parts.
        negative_prompt_embeds: (1, tokens, width) unconditional embedding; None asks the text encoder for
            that of the empty text when needed.
        context: (1, L, D) tokens of the empty text, where the family needs them; None asks likewise.
        preview: Latent-to-color map of `fit_preview`; None fits it when needed.
        compile: Parts to compile by `torch.compile` as they are loaded; "denoiser" is that of any family.
    """

    def __init__(
        self,
        modality: Modality,
        modules: Mapping[str, Any],
        *,
        spec: ConditioningSpec,
        defaults: DecoderDefaults,
        layout: Layout | None = None,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        negative_prompt_embeds: Tensor | None = None,
        context: Tensor | None = None,
        preview: Tensor | None = None,
        compile: Sequence[str] = (),  # as torch names it
    ) -> None:
        self.layout = layout_of(modality) if layout is None else layout
        if unknown := sorted(modules.keys() - self.layout.classes.keys()):
            raise BadArgument(
                f"decoder part: found {unknown[0]!r}, expected one of {', '.join(self.layout.classes)}; "
                "leave it out"
            )
        self.modality, self.spec, self.defaults, self.folder = modality, spec, defaults, folder
        self.device, self.dtype = torch.device(device), dtype
        self.slicing = False
        self._negative, self._context, self._preview = negative_prompt_embeds, context, preview
        self._tiling = False
        self._compiled = tuple(self.layout.denoiser if name == "denoiser" else name for name in compile)
        check_compile(self._compiled, tuple(self.layout.classes))
        self._lock = threading.RLock()
        present = {name: module for name, module in modules.items() if module is not None}
        self._modules = {name: self._prepared(name, module) for name, module in present.items()}

    @classmethod
    def open(
        cls,
        modality: Modality,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        compile: Sequence[str] = (),
    ) -> DecoderParts:
        """Read the descriptions of a folder; weights stay on disk until they are used.

        Args:
            modality: What the folder must decode to.
            folder: Local folder in diffusers' layout.
            device: Where parts will go.
            dtype: Floating-point type of the parts.
            compile: Parts to compile by `torch.compile` as they are loaded.

        Raises:
            MissingPart: The folder or a part of it is not there.
            BadArgument: The folder is of no known family of that modality, or its `decoder.json` is not
                understood.
            CheckpointCorrupt: A description is not JSON.
        """
        path = Path(folder)
        if not path.is_dir():
            raise MissingPart(
                f"{modality} decoder: found no folder {folder}, expected one in diffusers' layout; fetch "
                "it first"
            )
        index = read_json(path / "model_index.json", "{}")
        layout = layout_of(modality, index.get("_class_name"))
        check_variant(layout, index)
        if (path / EXTRAS_FILE).is_file():
            extras = from_json(_Extras, read_json(path / EXTRAS_FILE), where=EXTRAS_FILE)
        else:
            spec, defaults = layout.describe(path)
            extras = _Extras(spec=spec, defaults=defaults)
        stored = load_file(path / UNCONDITIONAL_FILE) if (path / UNCONDITIONAL_FILE).is_file() else {}
        if layout.zero_unconditional and index.get("force_zeros_for_empty_prompt", True):
            stored.setdefault("negative_prompt_embeds", torch.zeros(1, extras.spec.tokens, extras.spec.width))
        return cls(
            modality,
            {},
            spec=extras.spec,
            defaults=extras.defaults,
            layout=layout,
            folder=path,
            device=device,
            dtype=dtype,
            negative_prompt_embeds=stored.get("negative_prompt_embeds"),
            context=stored.get("context"),
            preview=torch.tensor(extras.preview) if extras.preview else None,
            compile=compile,
        )

    def get(self, name: str) -> Any:
        """A part by name, loaded now if it was not.

        Raises:
            MissingPart: Neither memory nor the folder has it.
            WeightsMismatch: Its weights are not exactly those of its class.
        """
        # weights made in inference mode could never be trained through
        with self._lock, torch.inference_mode(False):
            if name not in self._modules:
                self._modules[name] = self._prepared(name, self._load(name))
            return self._modules[name]

    @property
    def unet(self) -> Any:
        """The denoiser: a UNet, or the transformer that some families have in its place."""
        return self.get(self.layout.denoiser)

    @property
    def vae(self) -> Any:
        """The autoencoder."""
        return self.get("vae")

    @property
    def scheduler(self) -> Any:
        """Description of the sampler: copied for each run, never run itself."""
        return self.get("scheduler")

    @property
    def latent_channels(self) -> int:
        """Channels of the latents: what the denoiser takes but for coordinates."""
        return int(self.unet.config.in_channels) - self.spec.coordinates

    @property
    def vae_factor(self) -> int:
        """Data positions per latent position, along each side."""
        return self._geometry[0]

    @property
    def frame_factor(self) -> int:
        """Frames (or samples of a waveform) per latent position, along time."""
        return self._geometry[1]

    @property
    def _geometry(self) -> tuple[int, int]:
        if "vae" in self._modules or self.folder is None:
            return geometry(self.layout, dict(self.vae.config))
        return geometry(self.layout, read_json(self.folder / "vae" / "config.json"))

    @property
    def negative_prompt_embeds(self) -> Tensor:
        """(1, tokens, width) unconditional embedding, stored or made once."""
        with self._lock, torch.inference_mode(False):
            if self._negative is None and self.layout.zero_unconditional and self.folder is None:
                self._negative = torch.zeros(1, self.spec.tokens, self.spec.width)
            if self._negative is None:
                self._negative = self.encode_text([""])
            return self._negative

    @property
    def context(self) -> Tensor:
        """(1, L, D) tokens of the empty text, for families that have them beside their conditioning."""
        with self._lock, torch.inference_mode(False):
            if self._context is None:
                self._context = context_tokens([""], self)
            return self._context

    @property
    def preview(self) -> Tensor:
        """Latent-to-color map of `fit_preview`, fitted at first use."""
        with self._lock, torch.inference_mode(False):
            if self._preview is None:
                self._preview = fit_preview(self.vae, self.layout.latents)
            return self._preview

    def encode_text(self, texts: list[str]) -> Tensor:
        """(B, tokens, width) embeddings of the frozen text encoder, on its device."""
        return encode_text(texts, parts=self, kind=self.layout.text, spec=self.spec)

    def load(self, *, text_encoder: bool = False) -> None:
        """Load everything that generation needs now, and the text encoder too if asked."""
        for name in self.layout.classes:
            if text_encoder or not optional(name):
                self.get(name)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        """Move what is loaded, and what will be loaded, to a device and a floating-point type."""
        with self._lock:
            self.device, self.dtype = torch.device(device or self.device), dtype or self.dtype
            for name, module in self.loaded().items():
                frozen = not any(parameter.requires_grad for parameter in module.parameters())
                module.to(self.device, self._dtype_of(name))
                if frozen:
                    module.requires_grad_(False)  # StableUnCLIP's normalizer makes new parameters

    def save_memory(self, *, slicing: bool = False, tiling: bool = False) -> None:
        """Trade the autoencoder's speed for memory.

        Args:
            slicing: Decode one sample at a time; the result is the same.
            tiling: Decode large pictures in overlapping tiles; their seams can be seen at times.

        Raises:
            BadArgument: This autoencoder has no tiles.
        """
        with self._lock:
            self.slicing, self._tiling = slicing, tiling
            if "vae" in self._modules:
                self._set_tiling(self._modules["vae"])

    def loaded(self) -> dict[str, torch.nn.Module]:
        """Networks that are in memory, by name."""
        return {name: m for name, m in self._modules.items() if isinstance(m, torch.nn.Module)}

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write every part in diffusers' layout, plus `decoder.json` and the unconditional embedding.

        Args:
            folder: Made if it is not there.
            dtype: Floating-point type of the weights on disk; None keeps each as it is.
        """
        from .writer import write_folder  # keeps the reading side free of what only training needs

        present = {name: self.get(name) for name in self.layout.classes if self.has(name)}
        extras = _Extras(
            spec=self.spec, defaults=self.defaults, preview=tuple(map(tuple, self.preview.tolist()))
        )
        constants = {"negative_prompt_embeds": self.negative_prompt_embeds}
        if self.layout.needs_context:
            constants["context"] = self.context
        write_folder(Path(folder), self.layout, present, dtype)
        stored = {name: value.float().cpu().contiguous() for name, value in constants.items()}
        save_file(stored, str(Path(folder) / UNCONDITIONAL_FILE))
        (Path(folder) / EXTRAS_FILE).write_text(json.dumps(to_json(extras), indent=2) + "\n")
        for path in Path(folder).rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes 0600, which a shared folder cannot use

    def has(self, name: str) -> bool:
        """Whether a part is in memory or in the folder."""
        return name in self._modules or (self.folder is not None and (self.folder / name).is_dir())

    def _load(self, name: str) -> Any:
        if not self.has(name):
            raise MissingPart(
                f"{self.modality} decoder: found no {name}, expected a {name} folder; fetch the whole decoder"
                + (", or pass embeddings instead of text" if optional(name) else "")
            )
        assert self.folder is not None
        library, class_name = self.layout.classes[name]
        source = self.folder / name
        if name.endswith("scheduler"):
            return load_scheduler(source)
        if name.startswith("tokenizer"):
            _, named = read_json(self.folder / "model_index.json", "{}").get(name) or (None, None)
            return load_tokenizer(source, named)
        kind = str(self.modality)
        network = load_network(name, library, class_name, source, dtype=self._dtype_of(name), modality=kind)
        return network.to(self.device).requires_grad_(False)

    def _dtype_of(self, name: str) -> torch.dtype:
        """The type of a part: float32 for an autoencoder that says that it overflows in float16."""
        if name != "vae" or self.dtype != torch.float16 or self.folder is None:
            return self.dtype
        careful = read_json(self.folder / "vae" / "config.json").get("force_upcast")
        return torch.float32 if careful else self.dtype

    def _prepared(self, name: str, part: Any) -> Any:
        """A part that has just come into memory, with what was asked for it."""
        if name == "vae" and self._tiling:
            self._set_tiling(part)
        if name in self._compiled:
            part.compile()
        return part

    def _set_tiling(self, vae: Any) -> None:
        if not hasattr(vae, "use_tiling"):
            if self._tiling:
                raise BadArgument(f"tiling: found a {type(vae).__name__}, which has no tiles; leave it out")
            return
        (vae.enable_tiling if self._tiling else vae.disable_tiling)()
