"""Pretrains the decoders' text encoders: CLIP for pictures and films, CLAP for sound.

Attribute classification stands in for the image-text contrast that made CLIP: what matters downstream is that
the frozen embedding tells apart what the decoder must draw, and that can be graded directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from anygen.decoders.build import build_clap_text_encoder, build_clip_text_encoder
from anygen.modality import Modality
from anygen.toybox.captions import caption
from anygen.toybox.scene import ATTRIBUTES, REVEALS, sample_scene

from ..text_embeds import embed_texts
from .tokenizer import caption_corpus, train_tokenizer


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """Which encoder, how wide, and which attributes its embedding must tell apart."""

    kind: Literal["clip", "clap"]
    """CLIP: causal, token states. CLAP: RoBERTa, one unit-norm vector."""
    modality: Modality
    """What its captions describe; attributes that this modality cannot show are never named."""
    width: int = 64
    """Hidden width."""
    layers: int = 2
    """Transformer layers."""
    length: int = 24
    """Tokens a caption is padded or cut to."""
    vocab_size: int = 640
    """Tokenizer size."""
    corpus_size: int = 20_000
    """Captions that the tokenizer is trained on."""
    seed: int = 0
    """Initialisation and sample numbers."""


def random_subset(attributes: Mapping[str, str], rng: np.random.Generator) -> dict[str, str]:
    """All attributes half of the time, else a random non-empty subset: what people leave unsaid is free."""
    names = list(attributes)
    if rng.random() < 0.5:
        return dict(attributes)
    kept = [n for n in names if rng.random() < 0.6] or [names[rng.integers(len(names))]]
    return {n: attributes[n] for n in kept}


def drawn_caption(attributes: Mapping[str, str], rng: np.random.Generator, canonical: float = 0.6) -> str:
    """The canonical caption with this probability, else a paraphrase."""
    return caption(attributes, None if rng.random() < canonical else rng)


class TextEncoderStage:
    """Cross-entropy of each attribute's value (or `unnamed`) read off the embedding by a linear head."""

    dataset_size = None

    def __init__(self, config: TextEncoderConfig) -> None:
        self.config = config
        self.name = f"{config.kind}-text-encoder"
        self.attributes = REVEALS[config.modality]
        torch.manual_seed(config.seed)
        self.tokenizer = train_tokenizer(
            caption_corpus(config.corpus_size, seed=config.seed),
            vocab_size=config.vocab_size,
            lowercase=True,
            wrap=True,
        )
        self.tokenizer.model_max_length = config.length
        self.encoder = self._build()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config.width, len(ATTRIBUTES[name]) + 1) for name in self.attributes}
        )

    def _build(self) -> PreTrainedModel:
        config, t = self.config, self.tokenizer
        ids = {"bos_token_id": t.bos_token_id, "eos_token_id": t.eos_token_id, "pad_token_id": t.pad_token_id}
        sizes = {
            "vocab_size": len(t),
            "width": config.width,
            "layers": config.layers,
            "length": config.length,
        }
        if config.kind == "clip":
            return build_clip_text_encoder(**sizes, **ids)
        return build_clap_text_encoder(**sizes, projection_dim=config.width, **ids)

    def modules(self) -> dict[str, nn.Module]:
        """The encoder and the heads that are thrown away after training."""
        return {"text_encoder": self.encoder, "heads": self.heads}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """All of it."""
        return [{"params": [*self.encoder.parameters(), *self.heads.parameters()]}]

    def batch(self, indices: NDArray[np.int64]) -> tuple[list[str], dict[str, Tensor]]:
        """Captions and, per attribute, the value's index or the number of values where it is unnamed."""
        rng = np.random.default_rng((self.config.seed, int(indices[0])))
        named = [random_subset(sample_scene(rng).revealed(self.config.modality), rng) for _ in indices]
        texts = [drawn_caption(a, rng, canonical=0.3) for a in named]
        return texts, self._labels(named)

    def _labels(self, named: list[dict[str, str]]) -> dict[str, Tensor]:
        return {
            n: torch.tensor(
                [ATTRIBUTES[n].index(a[n]) if n in a else len(ATTRIBUTES[n]) for a in named], dtype=torch.long
            )
            for n in self.attributes
        }

    def embed(self, texts: list[str]) -> Tensor:
        """The decoder's conditioning: (n, length, width) for CLIP, (n, width) of unit norm for CLAP."""
        return embed_texts(self.encoder, self.tokenizer, texts)

    def training_forward(
        self, batch: tuple[list[str], dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Mean cross-entropy over the attributes."""
        losses = {n: F.cross_entropy(x, batch[1][n]) for n, x in self._logits(batch[0]).items()}
        return {"loss": torch.stack(list(losses.values())).mean(), **losses}, {}

    def _logits(self, texts: list[str]) -> dict[str, Tensor]:
        states = self.embed(texts)
        if self.config.kind == "clip":
            pooled = torch.cat([states.mean(1, keepdim=True), states[:, -1:]], 1).mean(1)
        else:
            pooled = 8.0 * states  # unit-norm vectors need a scale before a softmax
        return {name: head(pooled) for name, head in self.heads.items()}

    def evaluate(self) -> dict[str, float]:
        """Share of attributes right, seen and held out, on canonical captions and on paraphrases."""
        scores = {}
        for group, held_out in (("seen", False), ("held_out", True)):
            for wording, canonical in (("canonical", 1.0), ("paraphrase", 0.0)):
                rng = np.random.default_rng((self.config.seed + 1, held_out, int(canonical)))
                scenes = [sample_scene(rng, held_out=held_out) for _ in range(256)]
                named = [random_subset(s.revealed(self.config.modality), rng) for s in scenes]
                logits = self._logits([drawn_caption(a, rng, canonical) for a in named])
                labels = self._labels(named)
                for name, x in logits.items():
                    scores[f"{group}/{wording}/{name}"] = float((x.argmax(-1) == labels[name]).float().mean())
        return scores

    def save(self, folder: Path) -> None:
        """Encoder and tokenizer, as the decoder folders hold them."""
        self.encoder.save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")
