"""Signal tokens: ids that only code can write, and that say where media enter an answer.

A group of signal tokens, `[IMG0]..[IMG3]` for an image, stands in the answer where the image belongs; the
hidden states at the group become the decoder's conditioning. `<Img>` and `</Img>` wrap every media item that
enters (NExT-GPT, arXiv 2309.05519, and its published vocabulary, whose order is kept: delimiters, images,
videos, audio).

No text ever becomes one of these ids: they are *special* tokens, and every text is tokenised with special
tokens split, so that a typed `[IMG0]` or `</s>` is plain characters. Control ids are placed by code alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .errors import BadArgument, BadText, MissingPart
from .modality import GENERATED, Modality

DELIMITERS = ("<Img>", "</Img>")
"""What stands before and after every media item that enters, whatever its modality."""

SIGNAL_PREFIXES: dict[Modality, str] = {
    Modality.IMAGE: "IMG",
    Modality.VIDEO: "VID",
    Modality.AUDIO: "AUD",
}
"""Names of the groups, in the order of the published vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One exact, ordered group of signal tokens in a sequence of ids."""

    modality: Modality
    """What the group stands for."""
    start: int
    """Position of its first token."""
    length: int
    """Number of its tokens."""


@dataclass(frozen=True, kw_only=True)
class SignalTokens:
    """The control ids of one tokenizer: delimiters, signal groups, and what the tokenizer had before.

    Raises:
        BadArgument: a modality that cannot be generated, a group without tokens, or new ids that do not
            follow one another.
    """

    groups: Mapping[Modality, tuple[int, ...]]
    """Ids of every group, in order."""
    open_id: int
    """Id of `<Img>`."""
    close_id: int
    """Id of `</Img>`."""
    special_ids: frozenset[int] = field(default_factory=frozenset)
    """The tokenizer's own special ids (bos, eos, pad), unknown excepted."""

    def __post_init__(self) -> None:
        for modality, ids in self.groups.items():
            if modality not in GENERATED or not ids:
                raise BadArgument(
                    f"found a signal group of {len(ids)} tokens for {modality}, expected at least 1 token "
                    f"for one of {', '.join(GENERATED)}"
                )
        ids = self.new_ids
        if list(ids) != list(range(ids[0], ids[0] + len(ids))):
            raise BadArgument(f"found signal ids {list(ids)}, expected ids that follow one another")

    @classmethod
    def add_to(cls, tokenizer: Any, num_signals: Mapping[Modality, int]) -> SignalTokens:
        """Add delimiters and groups to a tokenizer as special tokens; those that it has are kept.

        Args:
            tokenizer: any `transformers` tokenizer; changed in place.
            num_signals: tokens per group.

        Returns:
            The bound ids.
        """
        _check_counts(num_signals)
        tokenizer.add_tokens(_names(num_signals), special_tokens=True)
        return cls.of(tokenizer, num_signals)

    @classmethod
    def of(cls, tokenizer: Any, num_signals: Mapping[Modality, int]) -> SignalTokens:
        """Bind the ids of a tokenizer that already has the tokens.

        Args:
            tokenizer: a `transformers` tokenizer, as a model folder holds it.
            num_signals: tokens per group.

        Returns:
            The bound ids.

        Raises:
            MissingPart: when a token is missing.
            BadArgument: when one is not special, so that typed text could become it.
        """
        _check_counts(num_signals)
        added = tokenizer.added_tokens_decoder
        by_name = {token.content: (index, token.special) for index, token in added.items()}
        for name in _names(num_signals):
            if name not in by_name:
                raise MissingPart(f"the tokenizer has no {name}, expected every signal token; add them first")
            if not by_name[name][1]:
                raise BadArgument(f"{name} is not special in the tokenizer, so typed text could become it")
        groups = {
            modality: tuple(by_name[f"[{prefix}{i}]"][0] for i in range(num_signals[modality]))
            for modality, prefix in SIGNAL_PREFIXES.items()
            if modality in num_signals
        }
        own = set(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
        return cls(
            groups=groups,
            open_id=by_name[DELIMITERS[0]][0],
            close_id=by_name[DELIMITERS[1]][0],
            special_ids=frozenset(own - {tokenizer.unk_token_id}),
        )

    @cached_property
    def new_ids(self) -> tuple[int, ...]:
        """Delimiters and signal ids, ascending: the rows that the embedding and the head gain."""
        return tuple(sorted([self.open_id, self.close_id, *(i for ids in self.groups.values() for i in ids)]))

    @cached_property
    def first_ids(self) -> dict[int, Modality]:
        """The modality that each first token of a group announces; the only signal ids an LLM may choose."""
        return {ids[0]: modality for modality, ids in self.groups.items()}

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Every id that text can never become."""
        return self.special_ids | set(self.new_ids)

    def num_signals(self) -> dict[Modality, int]:
        """Tokens per group."""
        return {modality: len(ids) for modality, ids in self.groups.items()}

    def find_spans(self, ids: Sequence[int]) -> tuple[list[Span], list[int]]:
        """Find the exact ordered groups in a sequence.

        Args:
            ids: token ids of one row.

        Returns:
            Spans in order, and the positions of signal ids that are in no whole group (cut, shuffled,
            repeated).
        """
        owner = {i: modality for modality, group in self.groups.items() for i in group}
        spans: list[Span] = []
        malformed: list[int] = []
        position = 0
        while position < len(ids):
            modality = owner.get(ids[position])
            if modality is None:
                position += 1
                continue
            group = self.groups[modality]
            if tuple(ids[position : position + len(group)]) == group:
                spans.append(Span(modality=modality, start=position, length=len(group)))
                position += len(group)
            else:
                malformed.append(position)
                position += 1
        return spans, malformed


class PlainText:
    """Turns text into ids that are never control ids, whoever wrote the text.

    It owns a copy of the tokenizer's backend with special tokens split, since the switch is part of a shared
    tokenizer's state and would flip under concurrent requests.
    """

    def __init__(self, tokenizer: Any, tokens: SignalTokens) -> None:
        """Copy the backend of a fast tokenizer.

        Args:
            tokenizer: a fast `transformers` tokenizer.
            tokens: its control ids.

        Raises:
            BadArgument: for a tokenizer without a Rust backend.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise BadArgument(f"found tokenizer {type(tokenizer).__name__}, expected a fast tokenizer")
        self._backend = copy.deepcopy(backend)
        self._backend.encode_special_tokens = True
        self._backend.no_truncation()
        self._backend.no_padding()
        self._tokens = tokens
        first = self._backend.encode("a", add_special_tokens=False).tokens
        self.adds_space = bool(first) and first[0][:1] in ("\u2581", "\u0120")
        """Whether the tokenizer puts a space before every text by itself (sentencepiece does)."""

    def __call__(self, text: str) -> list[int]:
        """Tokenise one text that follows a control id or another text.

        Args:
            text: any text; one leading space is taken off where the tokenizer adds it by itself.

        Returns:
            Ids, none of them a control id.

        Raises:
            BadText: for text that is not valid Unicode, or that the vocabulary itself maps to a control id.
        """
        if self.adds_space and text.startswith(" "):
            text = text[1:]
        if not text:
            return []
        try:
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError):
            raise BadText("found text that is not valid Unicode, expected UTF-8 text; remove it") from None
        if not self._tokens.control_ids.isdisjoint(ids):
            raise BadText("found text that reads as a control token, expected plain words; remove it")
        return ids


def _names(num_signals: Mapping[Modality, int]) -> list[str]:
    """Names of all new tokens in the order of the published vocabulary."""
    names = list(DELIMITERS)
    for modality, prefix in SIGNAL_PREFIXES.items():
        names += [f"[{prefix}{i}]" for i in range(num_signals.get(modality, 0))]
    return names


def _check_counts(num_signals: Mapping[Modality, int]) -> None:
    """Raise BadArgument unless every count is for a generated modality and at least 1."""
    for modality, count in num_signals.items():
        if modality not in SIGNAL_PREFIXES or count < 1:
            raise BadArgument(
                f"found {count} signal tokens for {modality}, expected at least 1 for one of "
                f"{', '.join(GENERATED)}"
            )
