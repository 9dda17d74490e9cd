"""Binding: one space for several modalities, from pairs of them, by a contrastive loss.

What is paired with what is the configuration's. ImageBind (Section 3.2) pairs everything with images:
image-text, video-audio, image-depth, image-thermal and video-IMU; LanguageBind pairs everything with text.
All other pairs (audio-text, or audio-image) are emergent: they are never paired, and the evaluation says how
well they bind. LiT and LanguageBind lock towers, or train low-rank updates of them; `stages/recipes/binding`
has a run file for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    ImageBindProcessor,
    TextTokenizer,
    load_config,
    save_encoder,
)
from anygen.encoders.imagebind.config import imagebind_tiny
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene

from .binding_config import PAIRS, BindingConfig
from .binding_data import (
    HELD_OUT_TABLE,
    caption_of,
    draw_scenes,
    fits,
    image_caption,
    render_batch,
    revealed_codes,
    scene_of,
    unseen,
)
from .binding_evaluation import evaluate_binding
from .binding_gather import gather
from .binding_towers import (
    build_model,
    built,
    hold_still,
    resize,
    scales,
    trained_names,
    without_adapters,
)
from .pretraining.tokenizer import caption_corpus

__all__ = ["PAIRS", "Batch", "BindingConfig", "BindingStage", "info_nce"]

Pair = tuple[Modality, Modality]
Piece = tuple[Tensor, Tensor]
"""Prepared inputs of n samples and (n, 5) codes of what they reveal."""

Batch = dict[Modality, Piece]
"""By modality. Texts that are anchors stand one pair after another, in the order of the pairs."""


class BindingStage:
    """Symmetric InfoNCE over every pair (ImageBind, equation 1), and labels for the vision tower.

    Both directions of a pair count alike. False negatives: of the 1,872 seen scenes many share what a depth
    map or a caption tells, so an item that is true of an anchor which is not its own is left out of that
    anchor's negatives (and the other way round), rather than pushed away.

    Args:
        config: Data, pairs, towers and evaluation.
        encoder: Sizes of the towers; None takes the bundled ones, with the tokenizer trained here.
        tokenizer: Needed with `encoder` when it has a text tower.

    Raises:
        BadArgument: no pair has both sides among the modalities, both towers of a pair are locked, or a
            tower's name is unknown.
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
            encoder, tokenizer = _bundled_sizes(config)
        self.pairs: tuple[Pair, ...] = tuple(
            (a, o) for a, o in config.pairs if {a, o} <= set(config.modalities)
        )
        self._check_pairs()
        torch.manual_seed(config.seed)
        self.model = build_model(config, encoder, {m for pair in self.pairs for m in pair} | set(config.keep))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(encoder.embed_dim, len(values)) for name, values in ATTRIBUTES.items()}
        )
        self.scales = scales(self.pairs if config.temperature == "learned" else ())
        self.tokenizer = tokenizer
        self.processor = ImageBindProcessor(encoder, tokenizer)

    def _check_pairs(self) -> None:
        if not self.pairs:
            raise BadArgument(
                f"Found modalities {', '.join(self.config.modalities)}; expected both sides of a trained "
                "pair, such as image and text."
            )
        for pair in self.pairs:
            if all(self.config.towers.get(TOWER[m]) == "locked" for m in pair):
                raise BadArgument(
                    f"Found both towers of {'-'.join(pair)} locked; expected one to train. "
                    "Leave the pair out, and name modalities that should stay in `keep`."
                )

    def modules(self) -> dict[str, nn.Module]:
        """The encoder, and the heads and temperatures that are thrown away."""
        return {
            "encoder": self.model,
            "heads": self.heads,
            **({"scales": self.scales} if self.scales else {}),
        }

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """What is not locked, in one group."""
        own_scale = self.config.temperature == "encoder" and any(o is Modality.TEXT for _, o in self.pairs)
        names = set(trained_names(self.model, self.config, own_scale))
        params = [p for n, p in self.model.named_parameters() if n in names]
        heads = self.heads.parameters() if self.config.label_weight else ()
        return [{"params": [*params, *heads, *self.scales.parameters()]}]

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Render the samples at `indices`; images and videos are of different scenes, none held out."""
        counts = {o: max(round(self.config.shares.get(o, 1.0) * len(indices)), 1) for _, o in self.pairs}
        if not self.config.per_sample:
            rng = np.random.default_rng((self.config.seed, *(int(i) for i in indices[[0, -1]])))
            return self._joined([self._pieces(counts, rng, None)])
        parts = []
        for place, index in enumerate(int(i) for i in indices):
            there = {other: 1 for other, count in counts.items() if place < count}
            rng = np.random.default_rng((self.config.seed, 0, index))
            parts.append(self._pieces(there, rng, index))
        return self._joined(parts)

    def _pieces(
        self, counts: Mapping[Modality, int], rng: np.random.Generator, index: int | None
    ) -> dict[Pair, Piece]:
        """Samples by (modality, of which pair); a shared anchor stands under itself twice."""
        pieces: dict[Pair, Piece] = {}
        for place, anchor in enumerate(dict.fromkeys(anchor for anchor, _ in self.pairs)):
            others = {o: counts[o] for first, o in self.pairs if first is anchor and o in counts}
            if not others:
                continue
            if anchor is Modality.TEXT:
                for other, count in others.items():
                    scenes = self._scenes(count, rng, index, place)
                    pieces[other, other] = self._medium(other, scenes, rng)
                    pieces[anchor, other] = self._captions(other, scenes, rng)
                continue
            scenes = self._scenes(max(others.values()), rng, index, place)
            codes = torch.from_numpy(revealed_codes([s.attributes() for s in scenes]))
            pieces[anchor, anchor] = (self._prepare(anchor, scenes, rng), codes)
            for other, count in others.items():
                pieces[other, other] = self._other(other, scenes[:count], rng)
        return pieces

    def _joined(self, parts: Sequence[Mapping[Pair, Piece]]) -> Batch:
        keys = dict.fromkeys(key for part in parts for key in part)
        texts = [(a, o) for a, o in self.pairs if a is Modality.TEXT]
        ordered = [*(k for k in keys if k not in texts), *texts]
        batch: dict[Modality, list[Piece]] = {}
        for key in ordered:
            batch.setdefault(key[0], []).extend(part[key] for part in parts if key in part)
        return {
            m: (torch.cat([inputs for inputs, _ in found]), torch.cat([codes for _, codes in found]))
            for m, found in batch.items()
        }

    def _scenes(self, count: int, rng: np.random.Generator, index: int | None, stream: int) -> list[Scene]:
        return draw_scenes(count, rng) if index is None else [scene_of(index, self.config.seed, stream)]

    def _other(self, modality: Modality, scenes: list[Scene], rng: np.random.Generator) -> Piece:
        if modality is Modality.TEXT:
            texts, named = zip(*(image_caption(s, rng) for s in scenes), strict=True)
            return self.processor(modality, texts), torch.from_numpy(revealed_codes(named))
        return self._medium(modality, scenes, rng)

    def _medium(self, modality: Modality, scenes: list[Scene], rng: np.random.Generator) -> Piece:
        revealed = torch.from_numpy(revealed_codes([s.revealed(modality) for s in scenes]))
        return self._prepare(modality, scenes, rng), revealed

    def _captions(self, modality: Modality, scenes: list[Scene], rng: np.random.Generator) -> Piece:
        texts, named = zip(*(caption_of(s, modality, rng) for s in scenes), strict=True)
        return self.processor(Modality.TEXT, texts), torch.from_numpy(revealed_codes(named))

    def _prepare(self, modality: Modality, scenes: list[Scene], rng: np.random.Generator) -> Tensor:
        rendered = render_batch(
            modality, scenes, self.model.config, rng=rng, perturbation=self.config.perturbation
        )
        return self.processor(modality, rendered)

    def training_forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Weighted mean of the pairs' losses plus the labels' loss; reports the pairs' hits."""
        hold_still(self.model, built(self.model, self.config.towers, "locked"))
        device = next(self.model.parameters()).device
        vectors = {m: self.model.encode(m, inputs.to(device)) for m, (inputs, _) in batch.items()}
        losses: dict[str, Tensor] = {}
        report: dict[str, float] = {}
        behind = 0
        for anchor, other in self.pairs:
            count = len(batch[other][1])
            rows = slice(behind, behind + count) if anchor is Modality.TEXT else slice(count)
            behind += count if anchor is Modality.TEXT else 0
            key = f"{anchor}-{other}"
            anchored = (vectors[anchor][rows], batch[anchor][1][rows])
            losses[key], report[f"{key}/hit"] = self._pair_loss(
                (anchor, other), anchored, (vectors[other], batch[other][1])
            )
        weights = {f"{a}-{o}": self.config.pair_weights.get(o, 1.0) for a, o in self.pairs}
        weighted = torch.stack([weights[key] * value for key, value in losses.items()])
        total = weighted.sum() / sum(weights.values())
        labelled = [m for m in batch if TOWER[m] == "vision"]
        if self.config.label_weight and labelled:
            labels = [self._label_loss(m, vectors[m], batch[m][1]) for m in labelled]
            losses["labels"] = torch.stack(labels).mean()
            total = total + self.config.label_weight * losses["labels"]
        return {"loss": total, **losses}, report

    def _pair_loss(self, pair: Pair, anchors: Piece, others: Piece) -> tuple[Tensor, float]:
        """InfoNCE of one pair from (vectors, codes) of both sides, with the negatives of all processes."""
        device = anchors[0].device
        if self.config.gather:
            anchors, others = ((gather(v), gather(c.to(device))) for v, c in (anchors, others))
        of_anchors, of_others = anchors[1].cpu().numpy(), others[1].cpu().numpy()
        # A caption is true of a medium, or a medium of the whole scene that an anchor shows.
        true = fits(of_others, of_anchors).T if pair[0] is Modality.TEXT else fits(of_anchors, of_others)
        ignore = torch.from_numpy(true | unseen(of_anchors, of_others)).to(device)
        return info_nce(anchors[0], self._scaled(pair, others[0]), ignore)

    def _label_loss(self, anchor: Modality, vectors: Tensor, codes: Tensor) -> Tensor:
        """Mean cross-entropy of what an image or video reveals, read off its unit vector times 10.

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

    def _scaled(self, pair: Pair, vectors: Tensor) -> Tensor:
        """Times the inverse temperature: the pair's own, or that of the other's tower."""
        if self.config.temperature == "learned":
            return self.scales["-".join(pair)](vectors)
        tower = TOWER[pair[1]]
        return (
            self.model.modality_postprocessors[tower](vectors)
            if tower in self.model.modality_postprocessors
            else vectors
        )

    def evaluate(self) -> dict[str, float]:
        """Zero-shot accuracy, retrieval and linear probes; see `evaluate_binding`."""
        return evaluate_binding(
            self.model, self.processor, count=self.config.evaluation_size, seed=self.config.seed
        )

    def save(self, folder: Path) -> None:
        """Write `encoder/` of a model folder."""
        dtype = torch.float16 if self.config.store_half else torch.float32
        save_encoder(folder / "encoder", without_adapters(self.model), self.tokenizer, dtype=dtype)


def _bundled_sizes(config: BindingConfig) -> tuple[ImageBindConfig, TextTokenizer]:
    """The bundled encoder's sizes, or what the configuration makes of them, and a tokenizer trained here."""
    small = train_tokenizer(
        (text.lower() for text in caption_corpus(config.corpus_size, seed=config.seed)),
        vocab_size=config.vocab_size,
    )
    encoder = resize(imagebind_tiny(**special_ids(small)), config.sizes)
    assert encoder.text is not None
    return encoder, TextTokenizer(small, encoder.text)


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
