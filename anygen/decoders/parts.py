"""One decoder as a folder in Stable Diffusion's, AudioLDM's or Zeroscope's layout, loaded part by part."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import from_json, to_json
from ..errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from ..modality import Modality
from .base import ConditioningSpec
from .preview import fit_preview
from .text import encode_text

PIPELINES: dict[Modality, str] = {
    Modality.IMAGE: "StableDiffusionPipeline",
    Modality.AUDIO: "AudioLDMPipeline",
    Modality.VIDEO: "TextToVideoSDPipeline",
}
"""The diffusers pipeline whose folder layout each modality has."""

_CLIP = {"text_encoder": ("transformers", "CLIPTextModel"), "tokenizer": ("transformers", "AutoTokenizer")}
_SHARED = {"vae": ("diffusers", "AutoencoderKL"), "scheduler": ("diffusers", "")}
CLASSES: dict[Modality, dict[str, tuple[str, str]]] = {
    Modality.IMAGE: {"unet": ("diffusers", "UNet2DConditionModel"), **_SHARED, **_CLIP},
    Modality.AUDIO: {
        "unet": ("diffusers", "UNet2DConditionModel"),
        **_SHARED,
        "text_encoder": ("transformers", "ClapTextModelWithProjection"),
        "tokenizer": ("transformers", "AutoTokenizer"),
        "vocoder": ("transformers", "SpeechT5HifiGan"),
    },
    Modality.VIDEO: {"unet": ("diffusers", "UNet3DConditionModel"), **_SHARED, **_CLIP},
}
"""Library and class of every part (the scheduler: from SCHEDULERS); a folder cannot name anything else."""

SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers that a folder may ask for."""

OPTIONAL = ("text_encoder", "tokenizer")
"""Parts that generation runs without, once the unconditional embedding is stored."""
EXTRAS_FILE = "decoder.json"
"""Our own file in the folder; official folders have none and get their layout's defaults."""
UNCONDITIONAL_FILE = "unconditional.safetensors"
"""Embedding of the empty text, so that guidance works without a text encoder."""


@dataclass(frozen=True, kw_only=True)
class DecoderDefaults:
    """How a decoder samples when the caller says nothing; sizes of other modalities are None."""

    num_inference_steps: int = 50
    """Denoising steps."""
    guidance_scale: float = 7.5
    """Weight of classifier-free guidance; 1 turns it off."""
    guidance_rescale: float = 0.0
    """phi of Lin et al. 2023, eq. 16; 0 turns it off."""
    height: int | None = None
    """Pixels, image and video."""
    width: int | None = None
    """Pixels, image and video."""
    num_frames: int | None = None
    """Frames, video."""
    fps: float | None = None
    """Frames a second, video."""
    audio_length_in_s: float | None = None
    """Seconds, audio."""
    shared_noise: float = 0.0
    """Share of the starting noise's variance that the frames of a film have in common; 0 in all published
    decoders."""


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
        spec: What the UNet is conditioned on.
        defaults: How to sample when the caller says nothing.
        folder: Where parts that are not in memory lie.
        device: Where loaded parts go.
        dtype: Floating-point type of loaded parts.
        negative_prompt_embeds: (1, tokens, width) embedding of the empty text; None asks the text encoder
            when needed.
        preview: Latent-to-color map of `fit_preview`; None fits it when needed.
    """

    def __init__(
        self,
        modality: Modality,
        modules: Mapping[str, Any],
        *,
        spec: ConditioningSpec,
        defaults: DecoderDefaults,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        negative_prompt_embeds: Tensor | None = None,
        preview: Tensor | None = None,
    ) -> None:
        if unknown := sorted(modules.keys() - CLASSES[modality].keys()):
            raise BadArgument(
                f"decoder part: found {unknown[0]!r}, expected one of {', '.join(CLASSES[modality])}; "
                "leave it out"
            )
        self.modality, self.spec, self.defaults, self.folder = modality, spec, defaults, folder
        self.device, self.dtype = torch.device(device), dtype
        self._modules = {name: module for name, module in modules.items() if module is not None}
        self._negative, self._preview = negative_prompt_embeds, preview
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        modality: Modality,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> DecoderParts:
        """Read the descriptions of a folder; weights stay on disk until they are used.

        Args:
            modality: What the folder must decode to.
            folder: Local folder in diffusers' layout.
            device: Where parts will go.
            dtype: Floating-point type of the parts.

        Raises:
            MissingPart: The folder or a part of it is not there.
            BadArgument: The folder decodes to another modality or its `decoder.json` is not understood.
            CheckpointCorrupt: A description is not JSON.
        """
        path = Path(folder)
        if not path.is_dir():
            raise MissingPart(
                f"{modality} decoder: found no folder {folder}, expected one in diffusers' layout; fetch "
                "it first"
            )
        found = _read_json(path / "model_index.json", "{}").get("_class_name", PIPELINES[modality])
        if found != PIPELINES[modality]:
            raise BadArgument(
                f"{modality} decoder: found a {found} folder, expected {PIPELINES[modality]}; pass "
                "another folder"
            )
        if (path / EXTRAS_FILE).is_file():
            extras = from_json(_Extras, _read_json(path / EXTRAS_FILE), where=EXTRAS_FILE)
        else:
            extras = _official_extras(modality, path)
        stored = path / UNCONDITIONAL_FILE
        return cls(
            modality,
            {},
            spec=extras.spec,
            defaults=extras.defaults,
            folder=path,
            device=device,
            dtype=dtype,
            negative_prompt_embeds=load_file(stored)["negative_prompt_embeds"] if stored.is_file() else None,
            preview=torch.tensor(extras.preview) if extras.preview else None,
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
                self._modules[name] = self._load(name)
            return self._modules[name]

    @property
    def unet(self) -> Any:
        """The denoiser."""
        return self.get("unet")

    @property
    def vae(self) -> Any:
        """The autoencoder."""
        return self.get("vae")

    @property
    def scheduler(self) -> Any:
        """Description of the sampler: copied for each run, never run itself."""
        return self.get("scheduler")

    @property
    def vae_factor(self) -> int:
        """Data positions per latent position, along each side."""
        if "vae" in self._modules or self.folder is None:
            return 2 ** (len(self.vae.config.block_out_channels) - 1)
        return 2 ** (len(_read_json(self.folder / "vae" / "config.json")["block_out_channels"]) - 1)

    @property
    def negative_prompt_embeds(self) -> Tensor:
        """(1, tokens, width) embedding of the empty text, stored or made once by the text encoder."""
        with self._lock, torch.inference_mode(False):
            if self._negative is None:
                self._negative = self.encode_text([""])
            return self._negative

    @property
    def preview(self) -> Tensor:
        """Latent-to-color map of `fit_preview`, fitted at first use."""
        with self._lock, torch.inference_mode(False):
            if self._preview is None:
                low, high = (-11.5, 1.0) if self.modality is Modality.AUDIO else (-1.0, 1.0)
                self._preview = fit_preview(self.vae, low=low, high=high)
            return self._preview

    def encode_text(self, texts: list[str]) -> Tensor:
        """(B, tokens, width) embeddings of the frozen text encoder, on its device."""
        return encode_text(
            texts, tokenizer=self.get("tokenizer"), text_encoder=self.get("text_encoder"), spec=self.spec
        )

    def load(self, *, text_encoder: bool = False) -> None:
        """Load everything that generation needs now, and the text encoder too if asked."""
        for name in CLASSES[self.modality]:
            if text_encoder or name not in OPTIONAL:
                self.get(name)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        """Move what is loaded, and what will be loaded, to a device and a floating-point type."""
        with self._lock:
            self.device, self.dtype = torch.device(device or self.device), dtype or self.dtype
            for module in self._modules.values():
                if isinstance(module, torch.nn.Module):
                    module.to(device=self.device, dtype=self.dtype)

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

        present = {name: self.get(name) for name in CLASSES[self.modality] if self.has(name)}
        extras = _Extras(
            spec=self.spec, defaults=self.defaults, preview=tuple(map(tuple, self.preview.tolist()))
        )
        negative = {"negative_prompt_embeds": self.negative_prompt_embeds.float().cpu().contiguous()}
        write_folder(Path(folder), PIPELINES[self.modality], CLASSES[self.modality], present, dtype)
        save_file(negative, str(Path(folder) / UNCONDITIONAL_FILE))
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
                + (", or pass embeddings instead of text" if name in OPTIONAL else "")
            )
        assert self.folder is not None
        library, class_name = CLASSES[self.modality][name]
        if name == "scheduler":
            class_name = _scheduler_name(self.folder)
        part_class = getattr(importlib.import_module(library), class_name)
        source = self.folder / name
        if name in ("scheduler", "tokenizer"):
            return part_class.from_pretrained(str(source), local_files_only=True)
        return self._load_network(name, part_class, source)

    def _load_network(self, name: str, part_class: Any, source: Path) -> Any:
        if not any(source.glob("*.safetensors")):
            raise MissingPart(
                f"{self.modality} decoder: found no safetensors weights in {name}, expected "
                "*.safetensors; pickles are not read, convert them with `anygen import`"
            )
        found = _read_json(source / "config.json").get("_class_name", part_class.__name__)
        if found != part_class.__name__:
            raise WeightsMismatch(
                f"{name}: found a {found}, expected a {part_class.__name__}; pass the decoder's own folder"
            )
        module, report = part_class.from_pretrained(
            str(source),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=self.dtype,
        )
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
        return module.to(self.device).eval().requires_grad_(False)


def _read_json(path: Path, fallback: str | None = None) -> dict[str, Any]:
    """A JSON object of a decoder folder."""
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


def _scheduler_name(folder: Path) -> str:
    name = str(_read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name"))
    if name not in SCHEDULERS:
        raise BadArgument(
            f"scheduler: found {name}, expected one of {', '.join(SCHEDULERS)}; change scheduler_config.json"
        )
    return name


def _official_extras(modality: Modality, folder: Path) -> _Extras:
    """Conditioning and defaults of an official folder, from its configs and its pipeline's defaults."""
    unet = _read_json(folder / "unet" / "config.json")
    factor = 2 ** (len(_read_json(folder / "vae" / "config.json")["block_out_channels"]) - 1)
    if modality is Modality.AUDIO:
        spec = ConditioningSpec(
            tokens=1,
            width=unet["projection_class_embeddings_input_dim"],
            normalised=True,
            entry="class_labels",
        )
        seconds = unet["sample_size"] * factor * 0.01  # a hop of 160 at 16 kHz
        return _Extras(spec=spec, defaults=DecoderDefaults(guidance_scale=2.5, audio_length_in_s=seconds))
    text = _read_json(folder / "text_encoder" / "config.json")
    spec = ConditioningSpec(tokens=text["max_position_embeddings"], width=unet["cross_attention_dim"])
    if modality is Modality.VIDEO:
        defaults = DecoderDefaults(guidance_scale=9.0, height=320, width=576, num_frames=24, fps=8.0)
        return _Extras(spec=spec, defaults=defaults)
    side = unet["sample_size"] * factor
    return _Extras(spec=spec, defaults=DecoderDefaults(height=side, width=side))
