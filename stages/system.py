"""The system as the alignment stages see it: model, prompts, frozen features and text targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import AutoTokenizer, ClapTextModelWithProjection, CLIPTextModel

from anygen.encoders.imagebind.folder import load_encoder, load_processor
from anygen.llm import add_lora, extend_vocabulary, load_adapter, load_backbone, save_adapter
from anygen.llm.lora import has_lora
from anygen.modality import Modality
from anygen.model import AnyGenModel, ModelOutput
from anygen.projections import InputProjection, OutputProjection
from anygen.prompting import PromptBatch, PromptBuilder, TrainingTurn
from anygen.tokens import SignalTokens
from anygen.toybox.captions import caption
from anygen.toybox.dialogue_types import InputMedia, Signal

from .features import FeatureConfig, MediaFeatures
from .pretraining.text_encoder import embed_texts

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
    features: str
    """File of the frozen encoder features; computed when missing."""
    text_encoders: dict[Modality, str]
    """Folder with `text_encoder/` and `tokenizer/` of each decoder: the targets of the output projections."""
    start: str | None = None
    """Result of the stage before, or None for fresh projections and rows."""
    template: str = "toybox"
    """Chat template."""
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
    """Prompts of like length with their media vectors and the captions that their signals must mean."""

    prompts: PromptBatch
    vectors: Tensor
    captions: dict[Modality, list[str]]


class System:
    """Model, prompt builder, features and text targets."""

    def __init__(self, config: SystemConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.tokenizer = AutoTokenizer.from_pretrained(config.llm)
        self.tokens = SignalTokens.add_to(self.tokenizer, config.signal_tokens)
        self.builder = PromptBuilder(
            self.tokenizer, self.tokens, template=config.template, num_slot_tokens=config.num_slot_tokens
        )
        self.text_encoders = {m: self._text_encoder(m) for m in config.text_encoders}
        encoder = load_encoder(Path(config.encoder), None).eval()
        processor = load_processor(Path(config.encoder))
        self.features = {
            held_out: MediaFeatures.load_or_compute(
                Path(config.features).with_suffix(".held-out.safetensors" if held_out else ".safetensors"),
                encoder,
                processor,
                config.feature_set,
                held_out=held_out,
            )
            for held_out in (False, True)
        }
        self.model = self._model(encoder.embed_dim)

    def _text_encoder(self, modality: Modality) -> tuple[nn.Module, Any]:
        folder = Path(self.config.text_encoders[modality])
        encoder = TEXT_ENCODERS[modality].from_pretrained(folder / "text_encoder").eval()
        return encoder, AutoTokenizer.from_pretrained(folder / "tokenizer")

    def _model(self, encoder_dim: int) -> AnyGenModel:
        config = self.config
        llm = load_backbone(config.llm)
        extend_vocabulary(llm, self.tokens.new_ids, generator=torch.Generator().manual_seed(config.seed))
        width, sizes = llm.config.hidden_size, config.projection
        projections = {}
        for modality in config.signal_tokens:
            target = self.targets(modality, [""])
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
            tokens=self.tokens,
            input_projection=InputProjection(
                encoder_dim=encoder_dim, llm_dim=width, num_tokens=config.num_slot_tokens
            ),
            output_projections=projections,
        )
        if config.start is not None:
            load_trained(model, Path(config.start))
        return model

    def targets(self, modality: Modality, captions: list[str]) -> Tensor:
        """Frozen text embeddings (n, tokens, width) of captions: what the output projection must say."""
        encoder, tokenizer = self.text_encoders[modality]
        with torch.no_grad():
            embeds = embed_texts(encoder, tokenizer, captions)
        return embeds[:, None] if embeds.ndim == 2 else embeds

    def groups(
        self,
        conversations: Sequence[list[TrainingTurn]],
        rng: np.random.Generator,
        *,
        parts: int,
        held_out: bool = False,
    ) -> list[Group]:
        """Prompts in `parts` groups of like length, with features drawn for their media."""
        prompts = [self.builder.encode(turns, add_generation_prompt=False) for turns in conversations]
        prompts.sort(key=len)
        split = np.array_split(np.arange(len(prompts)), min(parts, len(prompts)))
        return [self._group([prompts[i] for i in rows], rng, held_out) for rows in split]

    def _group(self, prompts: list[Any], rng: np.random.Generator, held_out: bool) -> Group:
        batch = self.builder.collate(prompts, side="right")
        vectors = [self._vector(slot.item, rng, held_out) for slot in batch.slots]
        captions: dict[Modality, list[str]] = {}
        for placed in batch.signals:
            signal: Signal = placed.item
            captions.setdefault(placed.modality, []).append(caption(signal.attributes))
        width = self.model.input_projection.encoder_dim
        return Group(batch, torch.stack(vectors) if vectors else torch.zeros(0, width), captions)

    def _vector(self, media: InputMedia, rng: np.random.Generator, held_out: bool) -> Tensor:
        return self.features[held_out].draw(media.modality, media.scene, rng)

    def forward(self, group: Group, *, return_logits: bool = False) -> ModelOutput:
        """The model on one group."""
        prompts = group.prompts
        return self.model(
            prompts.input_ids,
            prompts.attention_mask,
            slot_mask=prompts.slot_mask,
            media_vectors=group.vectors,
            labels=prompts.labels,
            return_logits=return_logits,
        )

    def distances(self, group: Group, output: ModelOutput) -> dict[Modality, Tensor]:
        """Relative squared distance of each projected group to its caption's embedding, (M,).

        NExT-GPT (section 4.2) takes the Euclidean distance; the square over the targets' spread is smooth at
        zero and of like size for every decoder.
        """
        distances = {}
        for modality, captions in group.captions.items():
            wanted = self.targets(modality, captions)
            projected = self.model.project(
                modality, output.signal_states[modality], output.signal_embeds[modality]
            )
            spread = wanted.var() if len(captions) > 1 else wanted.square().mean()
            distances[modality] = (projected - wanted).square().flatten(1).mean(1) / spread.clamp(min=1e-6)
        return distances


def save_trained(model: AnyGenModel, folder: Path) -> None:
    """Write what the stages train: projections, adapter, rows."""
    (folder / "output_projections").mkdir(parents=True, exist_ok=True)
    save_model(model.input_projection, str(folder / "input_projection.safetensors"))
    for name, projection in model.output_projections.items():
        save_model(projection, str(folder / "output_projections" / f"{name}.safetensors"))
    save_adapter(model.llm, folder / "adapter")


def load_trained(model: AnyGenModel, folder: Path) -> None:
    """Read what `save_trained` wrote, strictly."""
    load_model(model.input_projection, str(folder / "input_projection.safetensors"), strict=True)
    for name, projection in model.output_projections.items():
        load_model(projection, str(folder / "output_projections" / f"{name}.safetensors"), strict=True)
    load_adapter(model.llm, folder / "adapter")


def ensure_lora(model: AnyGenModel, *, rank: int, alpha: int, dropout: float) -> None:
    """Give the language model a fresh adapter unless the stage before left one."""
    if not has_lora(model.llm):
        add_lora(model.llm, rank=rank, alpha=alpha, dropout=dropout)
