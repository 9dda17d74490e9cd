"""Pretrains the latent-diffusion UNets of the bundle over a frozen autoencoder and a frozen text encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoTokenizer, ClapTextModelWithProjection, CLIPTextModel, SpeechT5HifiGan

from anygen.decoders.base import ConditioningSpec, Decoder
from anygen.decoders.build import (
    build_audio_unet,
    build_image_unet,
    build_scheduler,
    build_video_unet,
    load_autoencoder,
    load_unet,
)
from anygen.decoders.denoising import denoising_loss
from anygen.decoders.inflate import copy_spatial, init_video_from_image, init_with_coordinates
from anygen.decoders.mel import log_mel
from anygen.decoders.parts import DecoderDefaults, DecoderParts
from anygen.decoders.registry import DECODERS
from anygen.decoders.sampler import share_noise
from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox import sound, visual
from anygen.toybox.captions import caption
from anygen.toybox.scene import Scene, sample_scene

from ..samples import SampleFolder
from ..text_embeds import embed_texts
from .text_encoder import drawn_caption, random_subset


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Which decoder's UNet to train, how wide, and on what."""

    modality: Modality
    """image, audio or video."""
    autoencoder: str
    """Folder of the frozen autoencoder."""
    text_encoder: str
    """Folder with `text_encoder/` and `tokenizer/`, frozen."""
    block_out_channels: tuple[int, ...]
    """UNet widths, finest level first."""
    bank_size: int
    """Scenes rendered and encoded once before training."""
    bank: str
    """File that keeps the encoded scenes."""
    coordinates: int = 0
    """Axes along which the UNet is told where it is: 1 is time, 2 the pitch of a spectrogram too."""
    image_unet: str | None = None
    """UNet whose spatial layers a video UNet starts from; beside `start`, whose temporal layers stay."""
    start: str | None = None
    """UNet folder of an earlier run, of the same sizes but perhaps without coordinates, to go on from; None
    starts from nothing. Lone frames go on from a film's UNet too."""
    num_frames: int = 16
    """Frames of a film of two seconds."""
    lone_frames: bool = False
    """Train a video UNet's spatial layers alone, on one frame of a film, whose time is its first coordinate:
    where the object is by then is learned like its color, at the price of pictures."""
    late_frames: float = 0.0
    """Share of lone frames that are the last of their film, beyond an even draw. Over an even draw words
    alone say nothing of where a thing is, since what moves left begins on the right: a saddle. Over these
    they do, and time then only has to turn it round."""
    object_weight: float = 4.0
    """Weight of the latents that the object covers in the denoising loss; the optimum stays the same."""
    apart: float = 0.0
    """Share of captions that leave out the shape or the color, beyond those that leave out anything: what is
    learned of each alone is drawn in pairs that were never shown."""
    unconditional: float = 0.1
    """Share of samples with the empty caption, for classifier-free guidance (Ho and Salimans 2022)."""
    shared_noise: float = 0.0
    """Share of the noise's variance that the frames of a film have in common, in training and in use."""
    noise_focus: float = 1.0
    """Density of the timesteps: their power less one, so 1 is even and 2 favours high noise, where a film
    decides what moves where."""
    vocoder: str | None = None
    """Folder of the vocoder that an audio decoder is saved and graded with."""
    num_inference_steps: int = 20
    """Default steps of the saved decoder, and of the evaluation."""
    guidance_scale: float = 3.0
    """Default guidance of the saved decoder, and of the evaluation."""
    evaluation_count: int = 64
    """Samples that an evaluation grades, seen and held out each."""
    seed: int = 0
    """Initialisation, scenes and captions."""

    def __post_init__(self) -> None:
        if self.modality is not Modality.VIDEO and (self.image_unet is not None or self.lone_frames):
            raise BadArgument(
                f"Found image_unet or lone_frames for {self.modality}; only video has them. Leave them out."
            )
        if self.lone_frames and self.coordinates < 1:
            raise BadArgument("Found lone_frames without coordinates; expected coordinates: 1, their time.")


PAIR = ("shape", "color")
"""The attributes of which some pairs are held out."""


@dataclass(frozen=True)
class _Medium:
    """What differs between the three decoders before the UNet is called."""

    draw: Callable[[list[Scene], np.random.Generator, int], Tensor]
    """Scenes, randomness and frames to autoencoder input, (n, [frames,] channels, h, w)."""
    build: Callable[..., nn.Module]
    text_encoder: Any
    spec: Callable[[int, int], ConditioningSpec]
    chunk: int
    """Scenes that are encoded at once."""


def _pictures(scenes: list[Scene], rng: np.random.Generator, _: int) -> Tensor:
    return torch.from_numpy(visual.image_batch(scenes, rng=rng)).movedim(-1, 1).float() / 127.5 - 1


def _films(scenes: list[Scene], rng: np.random.Generator, num_frames: int) -> Tensor:
    frames = visual.video_batch(scenes, rng=rng, num_frames=num_frames)
    return torch.from_numpy(frames).movedim(-1, 2).float() / 127.5 - 1


def _sounds(scenes: list[Scene], rng: np.random.Generator, _: int) -> Tensor:
    return log_mel(torch.from_numpy(sound.sound_batch(scenes, rng=rng)))[:, None]


def _cross_attention(tokens: int, width: int) -> ConditioningSpec:
    return ConditioningSpec(tokens=tokens, width=width)


def _class_label(_: int, width: int) -> ConditioningSpec:
    return ConditioningSpec(tokens=1, width=width, normalised=True, entry="class_labels")


MEDIA: dict[Modality, _Medium] = {
    Modality.IMAGE: _Medium(_pictures, build_image_unet, CLIPTextModel, _cross_attention, 64),
    Modality.VIDEO: _Medium(_films, build_video_unet, CLIPTextModel, _cross_attention, 8),
    Modality.AUDIO: _Medium(_sounds, build_audio_unet, ClapTextModelWithProjection, _class_label, 64),
}


class DiffusionStage:
    """The denoising loss on a bank of latents, captions drawn anew each time a scene is seen."""

    def __init__(self, config: DiffusionConfig) -> None:
        """Load the frozen parts, build the UNet and encode the bank, or read it from its file."""
        self.config, self.medium = config, MEDIA[config.modality]
        self.samples: SampleFolder | None = None
        self.name, self.dataset_size = f"{config.modality}-diffusion", config.bank_size
        self.autoencoder = load_autoencoder(config.autoencoder)
        texts = Path(config.text_encoder)
        self.text_encoder = self.medium.text_encoder.from_pretrained(texts / "text_encoder").eval()
        self.tokenizer = AutoTokenizer.from_pretrained(texts / "tokenizer")
        self.scheduler = build_scheduler()
        spec = self.medium.spec(self.tokenizer.model_max_length, self.text_encoder.config.hidden_size)
        self.spec = replace(spec, coordinates=config.coordinates)
        self.scenes = bank_scenes(config.bank_size, config.seed)
        self.latents, self.masks = self._bank(Path(config.bank))
        torch.manual_seed(config.seed)
        self.unet = self._build(build_image_unet if config.lone_frames else self.medium.build)
        self._start()

    def _build(self, build: Callable[..., nn.Module]) -> Any:
        entry = "class_embed_dim" if self.config.modality is Modality.AUDIO else "cross_attention_dim"
        return build(
            latent_channels=self.latents.shape[1],
            block_out_channels=self.config.block_out_channels,
            sample_size=self.latents.shape[-1],
            coordinates=self.config.coordinates,
            **{entry: self.spec.width},
        )

    def _start(self) -> None:
        """Take over the weights of an earlier run, of the image UNet, or of both."""
        config = self.config
        if config.start is not None:
            source = load_unet(config.start)
            if type(source) is type(self.unet):
                init_with_coordinates(source, self.unet)
            else:
                copy_spatial(source, self.unet)
        if config.image_unet is None:
            return
        image = load_unet(config.image_unet)
        if config.lone_frames:
            init_with_coordinates(image, self.unet)
        elif config.start is not None:
            copy_spatial(image, self.unet)
        else:
            spatial = self._build(build_image_unet)
            init_with_coordinates(image, spatial)
            init_video_from_image(spatial, self.unet)

    def _bank(self, cache: Path) -> tuple[Tensor, Tensor]:
        """Half-precision latents (n, C, [F,] h, w) of unit variance and object masks (n, 1, [F,] h, w)."""
        if cache.exists():
            from safetensors.torch import load_file

            stored = load_file(cache)
            return stored["latents"], stored["masks"]
        latents, masks = [], []
        with torch.no_grad():
            for start in range(0, len(self.scenes), self.medium.chunk):
                rng = np.random.default_rng((self.config.seed, 6, start))
                chunk = self.scenes[start : start + self.medium.chunk]
                data = self.medium.draw(chunk, rng, self.config.num_frames)
                frames = data.flatten(0, 1) if data.ndim == 5 else data
                encoded = self.autoencoder.encode(frames).latent_dist.mode()
                encoded = encoded * self.autoencoder.config.scaling_factor
                mask = _object_mask(frames, encoded.shape[-2:])
                if data.ndim == 5:  # films: (n f, C, h, w) to (n, C, f, h, w)
                    encoded, mask = (x.unflatten(0, data.shape[:2]).movedim(1, 2) for x in (encoded, mask))
                latents.append(encoded.half())
                masks.append(mask.half())
        bank = {"latents": torch.cat(latents).contiguous(), "masks": torch.cat(masks).contiguous()}
        from safetensors.torch import save_file

        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(bank, cache)
        return bank["latents"], bank["masks"]

    def modules(self) -> dict[str, nn.Module]:
        """The UNet and the frozen text encoder; the autoencoder has done its work in the bank."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """The UNet."""
        return [{"params": list(self.unet.parameters())}]

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        """Latents, masks and captions of the scenes at `indices`."""
        captions = []
        for index in indices:
            rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
            named = random_subset(self.scenes[index].revealed(self.config.modality), rng)
            if len(named) > 1 and rng.random() < self.config.apart:
                named.pop(PAIR[rng.integers(2)], None)
            dropped = rng.random() < self.config.unconditional
            captions.append("" if dropped else drawn_caption(named, rng, 0.7))
        latents, masks = (x[torch.from_numpy(indices)].float() for x in (self.latents, self.masks))
        batch = {"latents": latents, "masks": masks, "captions": captions, "places": None}
        if self.config.lone_frames:
            rows, count = torch.arange(len(latents)), latents.shape[2]
            frames = torch.randint(count, (len(latents),))
            frames[torch.rand(len(latents)) < self.config.late_frames] = count - 1
            batch |= {"latents": latents[rows, :, frames], "masks": masks[rows, :, frames]}
            batch["places"] = torch.linspace(-1, 1, count)[frames, None]
        return batch

    def training_forward(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The denoising loss, object weighted."""
        with torch.no_grad():
            embeds = embed_texts(self.text_encoder, self.tokenizer, batch["captions"])
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ()).item()))
        loss = denoising_loss(
            self.unet,
            self.scheduler,
            batch["latents"],
            embeds,
            self.spec,
            generator=generator,
            timesteps=self._timesteps(len(embeds), generator),
            noise=self._noise(batch["latents"], generator),
            weights=1 + (self.config.object_weight - 1) * batch["masks"],
            places=batch["places"],
        )
        return {"loss": loss}, {}

    def _timesteps(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Timesteps (count,) of the configured density; None leaves an even one to the loss."""
        if self.config.noise_focus == 1.0:
            return None
        drawn = torch.rand(count, generator=generator) ** (1.0 / self.config.noise_focus)
        return (drawn * self.scheduler.config.num_train_timesteps).long()

    def _noise(self, latents: Tensor, generator: torch.Generator) -> Tensor | None:
        """Noise with a common part; None leaves independent noise to the loss."""
        if self.config.shared_noise == 0.0:
            return None
        return share_noise(
            torch.randn(latents.shape, generator=generator), self.config.shared_noise, generator
        )

    def decoder(self) -> Decoder:
        """The decoder as it stands, with the UNet that is being trained."""
        unet = self.unet
        if self.config.lone_frames:
            unet = self._build(build_video_unet).eval()
            init_video_from_image(self.unet, unet)
        modules = {
            "unet": unet,
            "vae": self.autoencoder,
            "scheduler": self.scheduler,
            "text_encoder": self.text_encoder,
            "tokenizer": self.tokenizer,
        }
        if self.config.vocoder is not None:
            modules["vocoder"] = SpeechT5HifiGan.from_pretrained(self.config.vocoder).eval()
        sizes: dict[Modality, dict[str, Any]] = {
            Modality.IMAGE: {"height": 64, "width": 64},
            Modality.VIDEO: {
                "height": 64,
                "width": 64,
                "num_frames": self.config.num_frames,
                "fps": self.config.num_frames / 2,
            },
            Modality.AUDIO: {"audio_length_in_s": 2.0},
        }
        defaults = DecoderDefaults(
            num_inference_steps=self.config.num_inference_steps,
            guidance_scale=self.config.guidance_scale,
            shared_noise=self.config.shared_noise,
            **sizes[self.config.modality],
        )
        parts = DecoderParts(self.config.modality, modules, spec=self.spec, defaults=defaults)
        return cast(Decoder, DECODERS[self.config.modality](parts))

    def evaluate(self) -> dict[str, float]:
        """Share of attributes that the oracle reads in samples from full captions, seen and held out."""
        from anygen.stages.evaluation.grade import grade

        decoder, scores = self.decoder(), {}
        for group, held_out in (("seen", False), ("held_out", True)):
            rng = np.random.default_rng((self.config.seed + 1, 8, held_out))
            scenes = [sample_scene(rng, held_out=held_out) for _ in range(self.config.evaluation_count)]
            expected = [scene.revealed(self.config.modality) for scene in scenes]
            made = []
            for start in range(0, len(scenes), 16):
                chunk = expected[start : start + 16]
                seeds = list(range(start, start + len(chunk)))
                made += decoder(decoder.encode_text([caption(x) for x in chunk]), seeds=seeds)
            if self.samples is not None:
                self.samples.add_all(group, self.config.modality, made, [caption(x) for x in expected])
            for name, (right, count) in grade(self.config.modality, made, expected).items():
                scores[f"{group}/{name}"] = right / max(1, count)
        return scores

    def save(self, folder: Path) -> None:
        """The whole decoder in diffusers' layout."""
        self.decoder().save_pretrained(str(folder))


def bank_scenes(size: int, seed: int) -> list[Scene]:
    """The scenes of a bank, in order."""
    rng = np.random.default_rng((seed, 5))
    return [sample_scene(rng) for _ in range(size)]


def _object_mask(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """1 at the latents that the object touches, (n, 1, h, w); all ones for spectrograms."""
    if frames.shape[1] == 1:
        return torch.ones(len(frames), 1, *size)
    away = (frames - frames[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.02
    return F.adaptive_max_pool2d(away.float(), size)
