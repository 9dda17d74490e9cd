"""Binding: one space for all modalities from pairs with images alone (ImageBind, Section 3.2).

Trained pairs are exactly image-text, video-audio, image-depth, image-thermal and video-IMU. All others
(audio-text, depth-text, audio-depth, ...) are emergent: they are never paired, and the evaluation says how
well they bind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.imagebind import (
    TOWER,
    ImageBindConfig,
    ImageBindModel,
    ImageBindProcessor,
    TextTokenizer,
    load_config,
    load_encoder,
    save_encoder,
)
from anygen.encoders.imagebind.config import imagebind_tiny
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene

from .binding_data import (
    HELD_OUT_TABLE,
    Perturbation,
    draw_scenes,
    fits,
    image_caption,
    render_batch,
    revealed_codes,
    unseen,
)
from .binding_evaluation import evaluate_binding
from .pretraining.tokenizer import caption_corpus

PAIRS: tuple[tuple[Modality, Modality], ...] = (
    (Modality.IMAGE, Modality.TEXT),
    (Modality.VIDEO, Modality.AUDIO),
    (Modality.IMAGE, Modality.DEPTH),
    (Modality.IMAGE, Modality.THERMAL),
    (Modality.VIDEO, Modality.IMU),
)
"""(anchor, other) of every trained pair."""


@dataclass(frozen=True, kw_only=True)
class BindingConfig:
    """What the binding stage trains on."""

    vocab_size: int = 800
    """Tokens of the text tokenizer, special ids not counted."""
    corpus_size: int = 20_000
    """Captions that the tokenizer is trained on."""
    pair_weights: dict[Modality, float] = field(default_factory=lambda: {Modality.TEXT: 2.0})
    """Weight of a pair's loss by its other modality; 1 where not named."""
    shares: dict[Modality, float] = field(
        default_factory=lambda: {m: 0.5 for m in Modality if m not in (Modality.TEXT, Modality.IMAGE)}
    )
    """Share of a batch that a pair gets, by its other modality; 1 where not named. Captions need the most."""
    modalities: tuple[Modality, ...] = tuple(Modality)
    """Modalities to bind; a pair is trained when both of its sides are here."""
    perturbation: Perturbation = field(default_factory=Perturbation)
    """How far training media are from clean renders."""
    evaluation_size: int = 256
    """Scenes per group (seen, held out) in an evaluation; the probes are fitted on twice as many."""
    label_weight: float = 1.0
    """Weight of the vision tower's own classification loss, by linear heads that are thrown away. ImageBind
    starts from OpenCLIP's image tower; this stands in for that start. No other tower sees a label, so
    emergent pairs stay so."""
    start: str | None = None
    """Folder of an encoder to go on from, such as an earlier `result/encoder`; its sizes and its tokenizer
    are taken too. None starts from nothing."""
    seed: int = 0
    """Initialisation, tokenizer and sample numbers."""
    store_half: bool = True
    """Save the weights as float16."""


Batch = dict[Modality, tuple[Tensor, Tensor]]
"""Modality to prepared inputs and (n, 5) codes of what they reveal."""


class BindingStage:
    """Symmetric InfoNCE over every pair (equation 1), all towers trained jointly, and labels for the anchors.

    False negatives: of the 1,872 seen scenes many share what a depth map or a caption tells, so an item that
    is true of an anchor which is not its own is left out of that anchor's negatives (and the other way
    round), rather than pushed away.

    Args:
        config: Data and evaluation.
        encoder: Sizes of the towers; None takes the bundled ones, with the tokenizer trained here.
        tokenizer: Needed with `encoder` when it has a text tower.
    """

    name = "binding"
    dataset_size = None

    def __init__(
        self,
        config: BindingConfig,
        encoder: ImageBindConfig | None = None,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        self.config = config
        if config.start is not None:
            encoder = load_config(Path(config.start))
            tokenizer = TextTokenizer.from_folder(Path(config.start), encoder.text) if encoder.text else None
        elif encoder is None:
            small = train_tokenizer(
                (text.lower() for text in caption_corpus(config.corpus_size, seed=config.seed)),
                vocab_size=config.vocab_size,
            )
            encoder = imagebind_tiny(**special_ids(small))
            assert encoder.text is not None
            tokenizer = TextTokenizer(small, encoder.text)
        self.pairs = tuple(p for p in PAIRS if set(p) <= set(config.modalities))
        if not self.pairs:
            raise BadArgument(
                f"Found modalities {', '.join(config.modalities)}; expected both sides of a trained pair, "
                "such as image and text."
            )
        torch.manual_seed(config.seed)
        bound = {m for pair in self.pairs for m in pair}
        self.model = (
            ImageBindModel(encoder, bound)
            if config.start is None
            else load_encoder(Path(config.start), bound)
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(encoder.embed_dim, len(values)) for name, values in ATTRIBUTES.items()}
        )
        self.tokenizer = tokenizer
        self.processor = ImageBindProcessor(encoder, tokenizer)

    def modules(self) -> dict[str, nn.Module]:
        """The encoder, and the heads that are thrown away."""
        return {"encoder": self.model, "heads": self.heads}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """All of it, in one group."""
        return [{"params": [*self.model.parameters(), *self.heads.parameters()]}]

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Render the samples at `indices`; images and videos are of different scenes, none held out."""
        rng = np.random.default_rng((self.config.seed, *(int(i) for i in indices[[0, -1]])))
        batch: Batch = {}
        for anchor in dict.fromkeys(anchor for anchor, _ in self.pairs):
            others = {o: self._count(o, len(indices)) for first, o in self.pairs if first is anchor}
            scenes = draw_scenes(max(others.values()), rng)
            codes = torch.from_numpy(revealed_codes([s.attributes() for s in scenes]))
            batch[anchor] = (self._prepare(anchor, scenes, rng), codes)
            for other, count in others.items():
                batch[other] = self._other(other, scenes[:count], rng)
        return batch

    def _count(self, other: Modality, batch_size: int) -> int:
        return max(round(self.config.shares.get(other, 1.0) * batch_size), 1)

    def _other(
        self, modality: Modality, scenes: list[Scene], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        if modality is Modality.TEXT:
            texts, named = zip(*(image_caption(s, rng) for s in scenes), strict=True)
            return self.processor(modality, texts), torch.from_numpy(revealed_codes(named))
        revealed = torch.from_numpy(revealed_codes([s.revealed(modality) for s in scenes]))
        return self._prepare(modality, scenes, rng), revealed

    def _prepare(self, modality: Modality, scenes: list[Scene], rng: np.random.Generator) -> Tensor:
        rendered = render_batch(
            modality, scenes, self.model.config, rng=rng, perturbation=self.config.perturbation
        )
        return self.processor(modality, rendered)

    def training_forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Weighted mean of the pairs' losses plus the labels' loss; reports the pairs' hits."""
        device = next(self.model.parameters()).device
        vectors = {m: self.model.encode(m, inputs.to(device)) for m, (inputs, _) in batch.items()}
        losses: dict[str, Tensor] = {}
        report: dict[str, float] = {}
        for anchor, other in self.pairs:
            codes = batch[other][1].numpy()
            count = len(codes)
            anchor_codes = batch[anchor][1].numpy()[:count]
            ignore = torch.from_numpy(fits(anchor_codes, codes) | unseen(anchor_codes, codes)).to(device)
            key = f"{anchor}-{other}"
            scaled = self._scaled(other, vectors[other])
            losses[key], report[f"{key}/hit"] = info_nce(vectors[anchor][:count], scaled, ignore)
        weights = {f"{a}-{o}": self.config.pair_weights.get(o, 1.0) for a, o in self.pairs}
        weighted = torch.stack([weights[key] * value for key, value in losses.items()])
        total = weighted.sum() / sum(weights.values())
        if self.config.label_weight:
            anchors = dict.fromkeys(anchor for anchor, _ in self.pairs)
            labels = [self._label_loss(a, vectors[a], batch[a][1]) for a in anchors]
            losses["labels"] = torch.stack(labels).mean()
            total = total + self.config.label_weight * losses["labels"]
        return {"loss": total, **losses}, report

    def _label_loss(self, anchor: Modality, vectors: Tensor, codes: Tensor) -> Tensor:
        """Mean cross-entropy of what the anchor reveals, read off its unit vector times 10.

        A value that would make a held-out pair does not compete (see `unseen`).
        """
        codes = codes.to(vectors.device)
        columns = {name: list(ATTRIBUTES).index(name) for name in REVEALS[anchor]}
        table = torch.from_numpy(HELD_OUT_TABLE).to(vectors.device)
        absent = {"shape": table.T[codes[:, columns["color"]]], "color": table[codes[:, columns["shape"]]]}
        losses = []
        for name, column in columns.items():
            logits = self.heads[name](10.0 * vectors)
            if name in absent:
                logits = logits.masked_fill(absent[name], -torch.inf)
            losses.append(F.cross_entropy(logits, codes[:, column]))
        return torch.stack(losses).mean()

    def _scaled(self, modality: Modality, vectors: Tensor) -> Tensor:
        """Times the modality's inverse temperature: learned for text, fixed for the others (Appendix B)."""
        return self.model.modality_postprocessors[TOWER[modality]](vectors)

    def evaluate(self) -> dict[str, float]:
        """Zero-shot accuracy, retrieval and linear probes; see `evaluate_binding`."""
        return evaluate_binding(
            self.model, self.processor, count=self.config.evaluation_size, seed=self.config.seed
        )

    def save(self, folder: Path) -> None:
        """Write `encoder/` of a model folder."""
        dtype = torch.float16 if self.config.store_half else torch.float32
        save_encoder(folder / "encoder", self.model, self.tokenizer, dtype=dtype)


def info_nce(anchors: Tensor, others: Tensor, ignore: Tensor) -> tuple[Tensor, float]:
    """Symmetric InfoNCE (ImageBind, equation 1) in which some off-diagonal entries count as no negatives.

    Args:
        anchors: (n, d) of unit norm.
        others: (n, d), unit norm times the inverse temperature.
        ignore: (n, n) bool; entry (i, j) is left out for i != j.

    Returns:
        The loss, and the share of anchors whose own item is the nearest of those that count.
    """
    logits = anchors @ others.T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(ignore & ~own, -torch.inf)
    labels = torch.arange(len(logits), device=logits.device)
    loss = 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
    return loss, float((logits.argmax(dim=1) == labels).float().mean())
