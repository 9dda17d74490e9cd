"""What the binding stage can be told: which pairs, which towers train and how, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from anygen.errors import BadArgument
from anygen.modality import Modality

from .binding_data import Perturbation

PAIRS: tuple[tuple[Modality, Modality], ...] = (
    (Modality.IMAGE, Modality.TEXT),
    (Modality.VIDEO, Modality.AUDIO),
    (Modality.IMAGE, Modality.DEPTH),
    (Modality.IMAGE, Modality.THERMAL),
    (Modality.VIDEO, Modality.IMU),
)
"""(anchor, other) of every pair that ImageBind trains."""

Tuning = Literal["full", "lora", "locked"]
"""How a tower trains: all of it; low-rank updates of its attention with a new stem and head; not at all."""


@dataclass(frozen=True, kw_only=True)
class TowerSizes:
    """Sizes of towers made from nothing, where the bundled ones will not do. None leaves the bundled size."""

    width: int | None = None
    """Width of every tower; one width lets a tower begin as a copy of another."""
    num_blocks: int | None = None
    """Blocks of every tower."""
    image_size: int | None = None
    """Side of images, depth and thermal maps in pixels."""
    embed_dim: int | None = None
    """Width of the shared space."""


@dataclass(frozen=True, kw_only=True)
class BindingConfig:
    """What the binding stage trains on."""

    vocab_size: int = 800
    """Tokens of the text tokenizer, special ids not counted."""
    corpus_size: int = 20_000
    """Captions that the tokenizer is trained on."""
    pairs: tuple[tuple[Modality, ...], ...] = PAIRS
    """(anchor, other) of every pair to train. Anchors of a pair with text are captions of the other; image
    and video anchors share a scene with their others. No modality is both, or the other of two anchors."""
    pair_weights: dict[Modality, float] = field(default_factory=lambda: {Modality.TEXT: 2.0})
    """Weight of a pair's loss by its other modality; 1 where not named."""
    shares: dict[Modality, float] = field(
        default_factory=lambda: {m: 0.5 for m in Modality if m not in (Modality.TEXT, Modality.IMAGE)}
    )
    """Share of a batch that a pair gets, by its other modality; 1 where not named. Captions need the most."""
    modalities: tuple[Modality, ...] = tuple(Modality)
    """Modalities to bind; a pair is trained when both of its sides are here."""
    keep: tuple[Modality, ...] = ()
    """Modalities of `start` that no pair trains and the result has all the same."""
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
    fresh: tuple[str, ...] = ()
    """Towers that begin from nothing although there is a `start`."""
    trunk_from: dict[str, str] = field(default_factory=dict)
    """Tower to the tower whose blocks it begins as a copy of, as LanguageBind's begin as the image tower."""
    sizes: TowerSizes = field(default_factory=TowerSizes)
    """Sizes of the towers; without a `start` alone."""
    towers: dict[str, Tuning] = field(default_factory=dict)
    """How each tower trains; in full where not named. Images and videos share `vision`."""
    lora_rank: int = 8
    """Inner width of the low-rank updates."""
    lora_alpha: int = 16
    """They are scaled by this over the rank."""
    temperature: Literal["encoder", "learned"] = "encoder"
    """Factor of the cosines: the encoder's own (Appendix B of ImageBind: learned for text, fixed for others),
    or one learned for every pair from 1/0.07 up to 100 at most, as in CLIP and LanguageBind. The latter are
    thrown away: nothing behind the encoder needs them."""
    gather: bool = True
    """With several processes: take the negatives of all of them."""
    per_sample: bool = False
    """Draw every sample from its own index alone, so that a global batch is the same however many processes
    share it; slower. Otherwise the samples of a process are drawn together."""
    seed: int = 0
    """Initialisation, tokenizer and sample numbers."""
    store_half: bool = True
    """Save the weights as float16."""

    def __post_init__(self) -> None:
        for pair in self.pairs:
            if len(pair) != 2 or pair[0] not in (Modality.IMAGE, Modality.VIDEO, Modality.TEXT):
                raise BadArgument(
                    f"Found the pair {', '.join(pair)}; expected an anchor (image, video or text) and one "
                    "other modality."
                )
        others = [pair[1] for pair in self.pairs]
        both = {pair[0] for pair in self.pairs} & set(others)
        twice = sorted({other for other in others if others.count(other) > 1} | both)
        if twice:
            raise BadArgument(
                f"Found {', '.join(twice)} in several roles among the pairs; expected every modality to be "
                "an anchor, or the other of one. Train the pairs one run after another."
            )
        if self.lora_rank < 1:
            raise BadArgument(f"Found lora_rank={self.lora_rank}; expected at least 1.")
