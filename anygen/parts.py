"""The parts of a model as `config.json` describes them, up to the language model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import BadArgument, MissingPart
from .modality import MEDIA_INPUTS, Modality


def positive(name: str, value: int) -> None:
    """Raise BadArgument unless a number is at least 1.

    Args:
        name: the field's, for the message.
        value: the number.
    """
    if value < 1:
        raise BadArgument(f"`{name}` is {value}, expected at least 1.")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A part that lies elsewhere: a repository of the hub at a fixed revision."""

    repo_id: str
    """Repository, as "owner/name"."""
    revision: str = "main"
    """Commit, tag or branch; a commit makes the model reproducible."""
    subfolder: str = ""
    """Folder inside the repository, empty for its root."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is known of every part, whatever it is."""

    licence: str = "unknown"
    """Licence of the weights: an SPDX name where there is one."""
    source: str = "unknown"
    """Where the weights come from: "trained by make bundle", a repository, a paper."""
    reference: Reference | None = None
    """Where to fetch the part, or None when it lies in the model folder."""
    num_parameters: int = 0
    """Published number of parameters of a part that does not lie in the folder; 0 when not known."""


@dataclass(frozen=True, kw_only=True)
class TowerConfig(Part):
    """One folder of transformers that encodes some modalities: a CLIP, a LanguageBind tower, a CLAP."""

    family: Literal["clip", "clap"]
    """Which classes read it; "clip" also reads LanguageBind's imported towers."""
    modalities: tuple[Modality, ...]
    """What it encodes here; text where its text half is wanted."""
    width: int
    """Width of its vectors (`projection_dim`)."""
    space: str
    """Vectors of towers of one space can be compared; those of two cannot."""

    def __post_init__(self) -> None:
        positive("width", self.width)
        if not self.modalities or not self.space:
            raise BadArgument("a tower has no modalities or no space, expected both; name them")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Part):
    """The multimodal encoder: ImageBind, or towers put together.

    The vectors of several spaces stand side by side in one: a medium fills the columns of its own space and
    leaves the others zero. So a linear input projection has one block for every space, media of two spaces
    have cosine 0, and a text, which every text tower reads, fills all columns that it can.
    """

    kind: Literal["imagebind", "towers"] = "imagebind"
    """Which encoder."""
    embed_dim: int
    """Width of the unit-norm vector it gives per item; the sum over the spaces of towers."""
    modalities: tuple[Modality, ...] = (*MEDIA_INPUTS, Modality.TEXT)
    """What it encodes; ImageBind's layers are described in `encoder/config.json`."""
    towers: dict[str, TowerConfig] = field(default_factory=dict)
    """The towers by their folders in `encoder/`; none for ImageBind."""

    def __post_init__(self) -> None:
        positive("embed_dim", self.embed_dim)
        if (self.kind == "towers") != bool(self.towers):
            raise BadArgument(
                f"an encoder of kind {self.kind} has {len(self.towers)} towers; only `towers` has"
            )
        if self.kind == "towers":
            self._check_towers()

    def _check_towers(self) -> None:
        reading: dict[tuple[Modality, str], str] = {}
        for name, tower in self.towers.items():
            if not name.isidentifier() or name.endswith("_text"):
                raise BadArgument(f"a tower is named {name[:40]!r}, expected letters and digits; rename it")
            for modality in tower.modalities:
                place = (modality, tower.space if modality is Modality.TEXT else "")
                if place in reading:
                    raise BadArgument(
                        f"{modality} is read by {reading[place]} and {name}, expected one of them"
                    )
                reading[place] = name
        found = {modality for modality, _ in reading}
        width = sum(self.spaces.values())
        if found != set(self.modalities) or width != self.embed_dim:
            raise BadArgument(
                f"the towers read {', '.join(sorted(found))} into {width} dimensions, the encoder says "
                f"{', '.join(sorted(self.modalities))} and {self.embed_dim}; correct it"
            )

    @classmethod
    def of_towers(cls, towers: Mapping[str, TowerConfig], **part: Any) -> EncoderConfig:
        """The configuration of towers put together.

        Args:
            towers: by folder.
            part: fields of `Part`.

        Returns:
            Its configuration; width and modalities follow from the towers.
        """
        spaces = {tower.space: tower.width for tower in towers.values()}
        found = {modality for tower in towers.values() for modality in tower.modalities}
        return cls(
            kind="towers", embed_dim=sum(spaces.values()), towers=dict(towers),
            modalities=tuple(m for m in Modality if m in found), **part,
        )  # fmt: skip

    @property
    def spaces(self) -> dict[str, int]:
        """Width of every space of the towers, in the order of their columns. Raises BadArgument."""
        widths: dict[str, int] = {}
        for name, tower in self.towers.items():
            if widths.setdefault(tower.space, tower.width) != tower.width:
                raise BadArgument(
                    f"tower {name} has width {tower.width}, its space {tower.space} {widths[tower.space]}"
                )
        return widths

    def columns(self, space: str) -> slice:
        """Where the vectors of a space stand."""
        names = list(self.spaces)
        start = sum(self.spaces[name] for name in names[: names.index(space)])
        return slice(start, start + self.spaces[space])

    def readers(self, modality: Modality) -> dict[str, TowerConfig]:
        """The towers that read a modality: one, or for text one of every space that has it."""
        return {name: tower for name, tower in self.towers.items() if modality in tower.modalities}

    def half_names(self, modalities: Iterable[Modality] | None = None) -> tuple[str, ...]:
        """Names of what is loaded for some modalities: the media half of a tower, or its text half.

        Args:
            modalities: None asks for all.

        Returns:
            A tower's name, with "_text" behind it for the text half; the tower's own order.

        Raises:
            MissingPart: no tower reads a modality.
        """
        wanted = self.modalities if modalities is None else [Modality(m) for m in modalities]
        for modality in wanted:
            if not self.readers(modality):
                raise MissingPart(
                    f"Found no tower for {modality} in this encoder; it reads {', '.join(self.modalities)}. "
                    "Choose other modalities or another model."
                )
        names = [(name, m is Modality.TEXT) for m in wanted for name in self.readers(m)]
        return tuple(dict.fromkeys(f"{name}_text" if text else name for name, text in names))


@dataclass(frozen=True, kw_only=True)
class InputProjectionConfig(Part):
    """From encoder vectors to the language model's embedding space."""

    kind: str = "linear"
    """Which projection: "linear" takes one pooled vector an item, "grouping" the encoder's patch tokens."""
    num_tokens: int = 1
    """Language-model tokens that one media item becomes."""
    inner_dim: int = 512
    """Width inside a grouping."""
    num_heads: int = 8
    """Attention heads of a grouping."""

    def __post_init__(self) -> None:
        for name in ("num_tokens", "inner_dim", "num_heads"):
            positive(name, getattr(self, name))
