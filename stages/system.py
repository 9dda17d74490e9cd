"""The system as the alignment stages see it: model, prompts, frozen features and text targets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import AutoTokenizer, ClapTextModelWithProjection, CLIPTextModel

from anygen.encoders.imagebind import ImageBindModel, ImageBindProcessor, load_encoder, load_processor
from anygen.errors import BadArgument
from anygen.llm import (
    add_lora,
    extend_vocabulary,
    halve_products,
    load_adapter,
    load_backbone,
    save_adapter,
)
from anygen.llm.lora import has_lora
from anygen.modality import Modality
from anygen.model import AnyGenModel, ModelOutput
from anygen.model import MediaFeatures as Features
from anygen.projections import InputProjection, OutputProjection
from anygen.prompting import Prompt, PromptBatch, PromptBuilder, TrainingTurn
from anygen.tokens import SignalTokens
from anygen.toybox.captions import caption
from anygen.toybox.dialogue_types import InputMedia, Signal

from .averaging import mean_result
from .base import to_device
from .features import FeatureConfig, MediaFeatures
from .text_embeds import embed_texts
from .unseen import UnseenPairs

TEXT_ENCODERS: dict[Modality, Any] = {
    Modality.IMAGE: CLIPTextModel,
    Modality.VIDEO: CLIPTextModel,
    Modality.AUDIO: ClapTextModelWithProjection,
}


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """Sizes of the output projections."""

    inner_dim: int = 128
    """Width inside the transformer."""
    layers: int = 2
    """Encoder layers, and decoder layers."""
    heads: int = 4
    """Attention heads."""
    ffn_dim: int = 256
    """Width of the feed-forward layers."""


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """Where the frozen parts lie and how large the trained ones are."""

    llm: str
    """Folder of the language model and its tokenizer."""
    encoder: str
    """Folder of the multimodal encoder."""
    text_encoders: dict[Modality, str]
    """Folder with `text_encoder/` and `tokenizer/` of each decoder: the targets of the output projections."""
    features: str | None = None
    """File of the toybox's frozen encoder features, computed when missing; own data need none."""
    start: str | None = None
    """Result of the stage before, or None for fresh projections and rows."""
    averaged_with: tuple[str, ...] = ()
    """Results of other runs of that stage, whose mean with `start` is the start."""
    fresh_outputs: bool = False
    """Start the output projections anew all the same."""
    template: str = "toybox"
    """Chat template."""
    share_prefix: bool = False
    """Compute once what all dialogues of a group begin with: for templates with a system text."""
    half_products: bool = False
    """Multiply with the language model's frozen weights in bfloat16 while training (`llm.half_products`)."""
    num_slot_tokens: int = 4
    """Language-model tokens of one media item."""
    signal_tokens: dict[Modality, int] = field(
        default_factory=lambda: {Modality.IMAGE: 4, Modality.AUDIO: 4, Modality.VIDEO: 8}
    )
    """Signal tokens per group."""
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    """Output projections."""
    feature_set: FeatureConfig = field(default_factory=FeatureConfig)
    """How many features."""
    seed: int = 0
    """Initialisation and dialogues."""


@dataclass(frozen=True)
class Group:
    """Prompts of like length with what the encoder says of their media, and what their signals must mean."""

    prompts: PromptBatch
    vectors: Features
    captions: dict[Modality, list[str]]


def toybox_seed(config: SystemConfig | None) -> int:
    """The seed of the toybox's dialogues; a model folder's stages have none, since they train on own data."""
    assert config is not None
    return config.seed


class Media(Protocol):
    """What stands behind slots and signals: the toybox's scenes, or a data set's files."""

    def vectors(
        self, items: Sequence[Any], rng: np.random.Generator, *, held_out: bool, moved: float = 0.0
    ) -> list[Tensor]:
        """Vectors (dim,) of the items in slots, or patch tokens (L, dim); `moved` is the toybox's alone."""
        ...

    def caption(self, target: Any) -> str:
        """What a signal is to mean."""
        ...


class ToyboxMedia:
    """Renders of scenes, their features computed once.

    Args:
        features: Features of seen (False) and held-out (True) scenes.
    """

    def __init__(self, features: dict[bool, MediaFeatures]) -> None:
        self._features = features

    def vectors(
        self, items: Sequence[InputMedia], rng: np.random.Generator, *, held_out: bool, moved: float = 0.0
    ) -> list[Tensor]:
        """A drawn render's vector for each item; a share is moved (`MediaFeatures.moved`)."""
        features = self._features[held_out]
        return [
            (features.moved if moved and rng.random() < moved else features.draw)(i.modality, i.scene, rng)
            for i in items
        ]

    def caption(self, target: Signal) -> str:
        """The canonical caption of the signal's attributes."""
        return caption(target.attributes)


class System:
    """Model, prompt builder, media and text targets.

    Args:
        model: The trained whole.
        builder: Writes its prompts.
        media: What its slots and signals stand for.
        text_targets: From captions to a decoder's own text embeddings (n, tokens, width).
        excluded: From labels (B, S) to tokens (B, vocabulary) that do not compete in the loss; None for none.
        share_prefix: Compute once what all rows of a group begin with.
    """

    def __init__(
        self,
        *,
        model: AnyGenModel,
        builder: PromptBuilder,
        media: Media,
        text_targets: Callable[[Modality, list[str]], Tensor],
        excluded: Callable[[Tensor], Tensor] | None = None,
        share_prefix: bool = False,
    ) -> None:
        self.model, self.builder, self.media, self._text_targets = model, builder, media, text_targets
        self.tokenizer, self.tokens = builder.tokenizer, builder.tokens
        self._excluded, self.share_prefix = excluded, share_prefix

    def targets(self, modality: Modality, captions: list[str]) -> Tensor:
        """Frozen text embeddings (n, tokens, width) of captions: what the output projection must say."""
        return self._text_targets(modality, captions)

    def groups(
        self,
        conversations: Sequence[list[TrainingTurn]],
        rng: np.random.Generator,
        *,
        parts: int,
        held_out: bool = False,
        moved: float = 0.0,
    ) -> list[Group]:
        """Prompts in `parts` groups of like length, with features drawn for their media, a share moved."""
        prompts = [self.builder.encode(turns, add_generation_prompt=False) for turns in conversations]
        return self.grouped(prompts, rng, parts=parts, held_out=held_out, moved=moved)

    def grouped(
        self,
        prompts: Sequence[Prompt],
        rng: np.random.Generator,
        *,
        parts: int,
        held_out: bool = False,
        moved: float = 0.0,
    ) -> list[Group]:
        """Like `groups`, of conversations that are prompts already."""
        prompts = sorted(prompts, key=len)
        split = np.array_split(np.arange(len(prompts)), min(parts, len(prompts)))
        return [self._group([prompts[i] for i in rows], rng, held_out, moved) for rows in split]

    def _group(self, prompts: list[Prompt], rng: np.random.Generator, held_out: bool, moved: float) -> Group:
        batch = self.builder.collate(prompts, side="right")
        items = [slot.item for slot in batch.slots]
        vectors = self.media.vectors(items, rng, held_out=held_out, moved=moved)
        captions: dict[Modality, list[str]] = {}
        for placed in batch.signals:
            captions.setdefault(placed.modality, []).append(self.media.caption(placed.item))
        return Group(batch, self.model.collect(vectors), captions)

    def forward(self, group: Group, *, return_logits: bool = False) -> ModelOutput:
        """The model on one group."""
        prompts = group.prompts.to(self.model.device)
        return self.model(
            prompts.input_ids,
            prompts.attention_mask,
            slot_mask=prompts.slot_mask,
            media_vectors=to_device(group.vectors, self.model.device),
            labels=prompts.labels,
            excluded=self._excluded(prompts.labels)
            if self._excluded and prompts.labels is not None
            else None,
            return_logits=return_logits,
            share_prefix=self.share_prefix,
        )


class PartsTargets:
    """Text targets from folders of text encoders.

    Args:
        folders: Folder with `text_encoder/` and `tokenizer/`, by modality.
    """

    def __init__(self, folders: dict[Modality, str]) -> None:
        self._encoders: dict[Modality, tuple[nn.Module, Any]] = {}
        for modality, name in folders.items():
            encoder = TEXT_ENCODERS[modality].from_pretrained(Path(name) / "text_encoder").eval()
            self._encoders[modality] = encoder, AutoTokenizer.from_pretrained(Path(name) / "tokenizer")

    def __call__(self, modality: Modality, captions: list[str]) -> Tensor:
        """Embeddings (n, tokens, width) of captions."""
        encoder, tokenizer = self._encoders[modality]
        with torch.no_grad():
            embeds = embed_texts(encoder, tokenizer, captions)
        return embeds[:, None] if embeds.ndim == 2 else embeds


def build_system(
    config: SystemConfig,
    media: Callable[[ImageBindModel, ImageBindProcessor], Media] | None = None,
    *,
    toybox: bool = False,
) -> System:
    """Assemble the system of a configuration.

    Args:
        config: Where the frozen parts lie.
        media: From the encoder and its processor to what slots and signals stand for; None for the toybox.
        toybox: Whether these media are the toybox's all the same, as out of a cache: then the words of its
            held-out pairs do not compete in the losses.

    Raises:
        BadArgument: The toybox is wanted, and its features have no file.
    """
    torch.manual_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(config.llm)
    tokens = SignalTokens.add_to(tokenizer, config.signal_tokens)
    builder = PromptBuilder(
        tokenizer, tokens, template=config.template, num_slot_tokens=config.num_slot_tokens
    )
    targets = PartsTargets(config.text_encoders)
    encoder = load_encoder(Path(config.encoder), None).eval()
    found = (media or _toybox_media(config))(encoder, load_processor(Path(config.encoder)))
    model = _build_model(config, tokens, encoder.embed_dim, targets)
    unseen = UnseenPairs(tokenizer) if media is None or toybox else None
    return System(
        model=model, builder=builder, media=found, text_targets=targets, excluded=unseen,
        share_prefix=config.share_prefix,
    )  # fmt: skip


def _toybox_media(config: SystemConfig) -> Callable[[ImageBindModel, ImageBindProcessor], Media]:
    if config.features is None:
        raise BadArgument("found no `features`, expected the file of the toybox's features; or give `data`")
    path = Path(config.features)

    def make(encoder: ImageBindModel, processor: ImageBindProcessor) -> Media:
        return ToyboxMedia(
            {
                held_out: MediaFeatures.load_or_compute(
                    path.with_suffix(".held-out.safetensors" if held_out else ".safetensors"),
                    encoder,
                    processor,
                    config.feature_set,
                    held_out=held_out,
                )
                for held_out in (False, True)
            }
        )

    return make


def _build_model(
    config: SystemConfig, tokens: SignalTokens, encoder_dim: int, targets: PartsTargets
) -> AnyGenModel:
    llm = load_backbone(config.llm)
    if config.half_products:
        halve_products(llm)
    extend_vocabulary(llm, tokens.new_ids, generator=torch.Generator().manual_seed(config.seed))
    width, sizes = llm.config.hidden_size, config.projection
    projections = {}
    for modality in config.signal_tokens:
        target = targets(modality, [""])
        projections[modality] = OutputProjection(
            llm_dim=width,
            cond_dim=target.shape[-1],
            num_queries=target.shape[1],
            inner_dim=sizes.inner_dim,
            num_encoder_layers=sizes.layers,
            num_decoder_layers=sizes.layers,
            num_heads=sizes.heads,
            ffn_dim=sizes.ffn_dim,
            normalize=modality is Modality.AUDIO,
        )
    model = AnyGenModel(
        llm=llm,
        tokens=tokens,
        input_projection=InputProjection(
            encoder_dim=encoder_dim, llm_dim=width, num_tokens=config.num_slot_tokens
        ),
        output_projections=projections,
    )
    if config.start is not None:
        _load_start(model, config)
    return model


def _load_start(model: AnyGenModel, config: SystemConfig) -> None:
    """Load the start of a run, or the mean of it and of others."""
    assert config.start is not None
    start, outputs = Path(config.start), not config.fresh_outputs
    if not config.averaged_with:
        load_trained(model, start, outputs=outputs)
        return
    with tempfile.TemporaryDirectory() as folder:
        mean = Path(folder) / "mean"
        mean_result([start, *map(Path, config.averaged_with)], mean)
        load_trained(model, mean, outputs=outputs)


def save_trained(model: AnyGenModel, folder: Path) -> None:
    """Write what the stages train: projections, adapter, rows."""
    (folder / "output_projections").mkdir(parents=True, exist_ok=True)
    save_model(model.input_projection, str(folder / "input_projection.safetensors"))
    for name, projection in model.output_projections.items():
        save_model(projection, str(folder / "output_projections" / f"{name}.safetensors"))
    save_adapter(model.llm, folder / "adapter")


def load_trained(model: AnyGenModel, folder: Path, *, outputs: bool = True) -> None:
    """Read what `save_trained` wrote, strictly; the output projections only if wanted."""
    load_model(model.input_projection, str(folder / "input_projection.safetensors"), strict=True)
    for name, projection in model.output_projections.items() if outputs else ():
        load_model(projection, str(folder / "output_projections" / f"{name}.safetensors"), strict=True)
    load_adapter(model.llm, folder / "adapter")


def ensure_lora(
    model: AnyGenModel, *, rank: int, alpha: int, dropout: float, target_modules: Sequence[str]
) -> None:
    """Give the language model a fresh adapter unless the stage before left one."""
    if not has_lora(model.llm):
        add_lora(model.llm, rank=rank, alpha=alpha, dropout=dropout, target_modules=target_modules)
