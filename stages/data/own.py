"""A stage's own data: records split into those to train on and those held out, as prompts."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.prompting import Prompt, PromptBuilder

from ..sampling import Source
from .check import load_by_source
from .conversations import Converse
from .readers import SourceConfig
from .records import Record, located

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a stage trains on instead of the toybox."""

    sources: tuple[SourceConfig, ...]
    """Data sets, read one after another."""
    held_out: float = 0.1
    """Share of the entries that is evaluated on and never trains; entries that share media stay together."""
    most_evaluated: int = 256
    """Most held-out entries that one evaluation looks at."""
    cached_items: int = 100_000
    """Most media whose frozen features are kept in memory."""
    seed: int = 0
    """Decides what is held out, and the wording of requests."""

    def __post_init__(self) -> None:
        if not self.sources or not 0 <= self.held_out < 1 or self.most_evaluated < 1 or self.cached_items < 1:
            raise BadArgument(
                f"found {len(self.sources)} sources, held_out={self.held_out}, "
                f"most_evaluated={self.most_evaluated}, cached_items={self.cached_items}; expected at least "
                "one source, a share from 0 to below 1, and counts of at least 1"
            )


class OwnData:
    """Prompts by index; a pure function of it, so that a resumed run sees the same data.

    Args:
        config: The data.
        fits: Whether the stage has a use for a record.
        converse: What it makes of one.
        what: What fitting records have, for messages.

    Raises:
        BadArgument: A bad entry, or nothing to train on.
    """

    def __init__(
        self, config: DataConfig, *, fits: Callable[[Record], bool], converse: Converse, what: str
    ) -> None:
        self.config, self._converse = config, converse
        apart = load_by_source(config.sources)
        records = [record for found in apart for record in found]
        fitting = [record for record in records if fits(record)]
        if len(fitting) < len(records):
            unused = len(records) - len(fitting)
            logger.warning("%d of %d entries have no %s: unused here", unused, len(records), what)
        self.training, self.held_out = split_records(fitting, config.held_out, config.seed)
        if not self.training:
            raise BadArgument(f"found {len(fitting)} of {len(records)} entries with {what}, expected more")
        self.sources = mixture(config.sources, apart, self.training)
        logger.info("%d entries to train on, %d held out", len(self.training), len(self.held_out))

    def prompts(
        self, indices: Iterable[int], builder: PromptBuilder, lead_ins: Mapping[Modality, str]
    ) -> list[Prompt]:
        """Training samples.

        Args:
            indices: Positions in `training`.
            builder: Writes them for a model.
            lead_ins: What the model says before it shows a modality.

        Raises:
            BadArgument: The model has no signals for a modality; the entry is named.
            LimitExceeded: A conversation is too long for the model; the entry is named.
        """
        return [self._prompt(self.training[i], int(i), builder, lead_ins) for i in indices]

    def held_out_prompts(self, builder: PromptBuilder, lead_ins: Mapping[Modality, str]) -> list[Prompt]:
        """The held-out samples that an evaluation looks at; raises as `prompts`."""
        chosen = self.held_out[: self.config.most_evaluated]
        return [self._prompt(record, -1 - i, builder, lead_ins) for i, record in enumerate(chosen)]

    def _prompt(
        self, record: Record, index: int, builder: PromptBuilder, lead_ins: Mapping[Modality, str]
    ) -> Prompt:
        rng = np.random.default_rng((self.config.seed, 51, index % 2**32))
        with located(record.place):
            return builder.encode(self._converse(record, rng, lead_ins), add_generation_prompt=False)


def mixture(
    configs: Sequence[SourceConfig], apart: Sequence[Sequence[Record]], training: Sequence[Record]
) -> tuple[Source, ...]:
    """How training draws from data sets with weights; empty where none has one.

    Args:
        configs: The data sets.
        apart: Their records.
        training: Those of all that train, data set after data set.

    Raises:
        BadArgument: Only some have a weight, or one with a weight has nothing to train on.
    """
    weights = [config.weight for config in configs if config.weight is not None]
    if not weights:
        return ()
    if len(weights) < len(configs):
        raise BadArgument(
            f"found a weight for {len(weights)} of {len(configs)} sources, expected all or none"
        )
    kept = {id(record) for record in training}
    sizes = [sum(id(record) in kept for record in records) for records in apart]
    return tuple(Source(size=size, weight=weight) for size, weight in zip(sizes, weights, strict=True))


def split_records(records: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Split by a hash of what the entries are about, so that no held-out medium is trained on.

    A folder of data that moves to another place or machine is split alike.

    Args:
        records: All of them.
        share: How many are held out; entries that share a medium, over others as well, go together.
        seed: Another seed holds out others.

    Returns:
        Training and held-out records, each in the order of the data.
    """
    groups = _groups(records)
    sizes = Counter(groups)
    wanted, count = round(share * len(records)), 0
    held: set[str] = set()
    for group in sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        if count + sizes[group] <= wanted:
            held.add(group)
            count += sizes[group]
    training = [r for r, group in zip(records, groups, strict=True) if group not in held]
    return training, [r for r, group in zip(records, groups, strict=True) if group in held]


def _groups(records: Sequence[Record]) -> list[str]:
    """A name for each record, the same for those that share a medium (union of sets).

    Names are relative to the file that a group is first found in.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    firsts = []
    for record in records:
        keys = [medium.source.key for medium in record.media] or [str(record.place)]
        for key in keys[1:]:
            parent[max(root(key), root(keys[0]))] = min(root(key), root(keys[0]))
        firsts.append(keys[0])
    names: dict[str, str] = {}
    for record, key in zip(records, firsts, strict=True):
        here = os.path.dirname(os.path.abspath(record.place.file))
        names.setdefault(root(key), os.path.relpath(os.path.abspath(root(key)), here))
    return [names[root(key)] for key in firsts]
