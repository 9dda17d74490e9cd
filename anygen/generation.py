"""Answers of text and signal groups, for a batch of prompts, over one key-value cache.

At every step each row feeds what it chose: one token, or a whole signal group. Rows are padded on the left
inside the step and the padding is masked in the cache, so a row with a group never makes the others wait, and
a group costs one forward pass instead of one for each token. The first token of a group is chosen by the
language model or forced; the others follow by force, so a group is never cut, shuffled or repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .config import GenerationConfig
from .errors import BadArgument, Cancelled, LimitExceeded, MissingPart, NonFinite
from .llm import token_logits
from .llm.answers import Answer, AnswerFinished, Event, SignalGroup, TextDelta
from .llm.row import AnswerRow
from .llm.sampling import TextPiece, sample
from .llm.windows import has_window, whole_cache, window_masks
from .modality import Modality
from .model import AnyGenModel, MediaFeatures
from .prompting import PromptBatch, PromptBuilder

__all__ = ["Answer", "AnswerFinished", "Event", "SignalGroup", "TextDelta", "generate", "sample", "stream"]


LeadIns = dict[Modality, tuple[str, list[int]]]
"""Words that a row may still say before it forces a modality, and their ids."""


class _Run:
    """One batch from its prompts to its answers."""

    def __init__(
        self, model: AnyGenModel, builder: PromptBuilder, batch: PromptBatch, options: GenerationConfig,
    ) -> None:  # fmt: skip
        self.model = model
        self.tokens = builder.tokens
        self.tokenizer = builder.tokenizer
        self.builder = builder
        self.options = options
        self.eos_id: int = builder.tokenizer.eos_token_id
        self.attention_mask = batch.attention_mask.to(model.device)
        self.windowed = has_window(model.llm.config)
        self.positions = self.attention_mask[:, :0]
        self.rows: list[AnswerRow] = []
        self.cache: Any = whole_cache() if self.windowed else None
        self.banned: Tensor | None = None

    @torch.no_grad()
    def forward(self, inputs_embeds: Tensor, position_ids: Tensor) -> Tensor:
        """Extend the cache by a block. Returns its last hidden states (A, T, D)."""
        mask: Any = self.attention_mask
        if self.windowed:
            self.positions = torch.cat([self.positions, position_ids], dim=1)
            config, dtype = self.model.llm.config, inputs_embeds.dtype
            mask = window_masks(config, mask, self.positions, position_ids, dtype)
        output = self.model.llm.get_decoder()(
            inputs_embeds=inputs_embeds,
            attention_mask=mask,
            position_ids=position_ids,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = output.past_key_values
        states: Tensor = output.last_hidden_state
        return states

    @torch.no_grad()
    def prefill(self, batch: PromptBatch, media_vectors: MediaFeatures | None) -> Tensor:
        """Read the prompts. Returns the last state of every row (A, D)."""
        batch = batch.to(self.model.device)
        embeds = self.model.embed_prompt(batch.input_ids, batch.slot_mask, media_vectors)
        positions = (self.attention_mask.cumsum(-1) - 1).clamp(min=0)
        return self.forward(embeds, positions)[:, -1]

    @torch.no_grad()
    def choose(self, states: Tensor) -> list[int | None]:
        """Draw each row's next id from its last state (A, D); None for a row without room for a choice."""
        logits = token_logits(self.model.llm, states).float()
        if not bool(torch.isfinite(logits).all()):
            raise NonFinite("the language model gave NaN or infinity, expected numbers; use float32 weights")
        if self.banned is None:
            self.banned = self._banned(logits.shape[-1])
        mask = self.banned.expand_as(logits).clone()
        for i, row in enumerate(self.rows):
            for first_id, modality in self.tokens.first_ids.items():
                mask[i, first_id] = not row.may_start(modality)
            mask[i, self.eos_id] = row.needs_text
        scores = logits.masked_fill(mask.to(logits.device), -math.inf)
        if not self.options.do_sample:
            drawn = scores.argmax(-1).tolist()
        else:
            drawn = [
                sample(score, row.generator, temperature=self.options.temperature, top_p=self.options.top_p)
                for score, row in zip(scores.cpu(), self.rows, strict=True)
            ]
        return [None if row.is_full else i for row, i in zip(self.rows, drawn, strict=True)]

    def _banned(self, size: int) -> Tensor:
        """Ids that no row may choose: control ids but eos, and rows of the head that no token has."""
        banned = torch.zeros(size, dtype=torch.bool)
        banned[len(self.tokenizer) :] = True
        banned[[i for i in self.tokens.control_ids if i < size]] = True
        return banned

    def take(self, row: AnswerRow, chosen: int | None, lead_ins: LeadIns) -> Iterator[Event]:
        """Let a row act on what it chose: go on, start a group, or end."""
        if chosen is not None and chosen in self.tokens.first_ids:
            yield from self.start(row, self.tokens.first_ids[chosen], forced=False)
        elif chosen is not None and chosen != self.eos_id:
            yield from self._say(row, [chosen])
        elif row.missing:
            modality = row.missing[0]
            words, lead_in = lead_ins.pop(modality, ("", []))
            if (
                lead_in
                and chosen is not None
                and words not in row.text.shown
                and row.room >= len(lead_in) + row.needed
            ):
                yield from self._say(row, lead_in)
            else:
                yield from self.start(row, modality, forced=True)
        else:
            row.reason = "length" if chosen is None else "eos"

    def _say(self, row: AnswerRow, ids: list[int]) -> Iterator[Event]:
        """Add text ids to a row."""
        row.ids += ids
        row.room -= len(ids)
        row.pending = ids
        delta = row.text.add(ids)
        if delta:
            row.needs_text = False
            yield TextDelta(row=row.index, text=delta)
        if row.text.stopped:
            row.pending = []
            if row.missing:
                yield from self.start(row, row.missing[0], forced=True)
            else:
                row.reason = "stop"
        elif row.room == 0:
            row.reason = "length"

    def start(self, row: AnswerRow, modality: Modality, *, forced: bool) -> Iterator[Event]:
        """Begin a group: all of it goes into the next block."""
        group = list(self.tokens.groups[modality])
        if len(group) > row.room:
            raise LimitExceeded(
                f"the answer starts an {modality} of {len(group)} tokens with room for {row.room}; raise "
                "max_new_tokens or shorten the conversation"
            )
        yield from self.end_text(row)
        row.group, row.pending = (modality, forced), group
        row.ids += group
        row.room -= len(group)
        row.num_groups += 1
        if modality in row.missing:
            row.missing.remove(modality)

    def end_text(self, row: AnswerRow) -> Iterator[Event]:
        """Close the text piece, if there is one."""
        delta = row.text.end()
        if delta:
            yield TextDelta(row=row.index, text=delta)
        if row.text.shown:
            row.parts.append(row.text.shown)
        row.text = TextPiece(self.tokenizer, self.builder.template.stop)

    def finish(self) -> Iterator[Event]:
        """Take finished rows out of the batch and the cache."""
        for row in self.rows:
            if row.reason is not None:
                yield from self.end_text(row)
                answer = Answer(parts=tuple(row.parts), token_ids=tuple(row.ids), finish_reason=row.reason)
                yield AnswerFinished(row=row.index, answer=answer)
        keep = [i for i, row in enumerate(self.rows) if row.reason is None]
        if keep and len(keep) < len(self.rows):
            index = torch.tensor(keep, device=self.model.device)
            self.attention_mask = self.attention_mask[index]
            self.positions = self.positions[index] if self.windowed else self.positions
            self.cache.batch_select_indices(index)
        self.rows = [self.rows[i] for i in keep]

    @torch.no_grad()
    def advance(self) -> tuple[Tensor, list[SignalGroup]]:
        """Feed every row's pending ids as one block. Returns the last states (A, D) and the groups in it."""
        device, width = self.model.device, max(len(row.pending) for row in self.rows)
        ids = torch.full((len(self.rows), width), self.builder.pad_id)
        mask = torch.zeros_like(ids)
        positions = torch.zeros_like(ids)
        for i, row in enumerate(self.rows):
            start = width - len(row.pending)
            ids[i, start:] = torch.tensor(row.pending)
            mask[i, start:] = 1
            positions[i, start:] = torch.arange(row.length, row.length + len(row.pending))
            row.length += len(row.pending)
        self.attention_mask = torch.cat([self.attention_mask, mask.to(device)], dim=1)
        embeds = self.model.llm.get_input_embeddings()(ids.to(device))
        states = self.forward(embeds, positions.to(device))
        groups = []
        for i, row in enumerate(self.rows):
            if row.group is not None:
                (modality, forced), where = row.group, slice(width - len(row.pending), None)
                group = SignalGroup(
                    row=row.index,
                    modality=modality,
                    signal_states=states[i, where].clone(),
                    signal_embeds=embeds[i, where].clone(),
                    forced=forced,
                )
                row.parts.append(group)
                groups.append(group)
            row.group, row.pending = None, []
        return states[:, -1], groups


def stream(
    model: AnyGenModel,
    builder: PromptBuilder,
    batch: PromptBatch,
    *,
    media_vectors: MediaFeatures | None = None,
    options: GenerationConfig | None = None,
    outputs: Sequence[Collection[Modality] | None] | None = None,
    available: Collection[Modality] | None = None,
    seeds: Sequence[int] | None = None,
    lead_ins: dict[Modality, str] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Answer a batch of prompts, event by event.

    Args:
        model: in evaluation mode.
        builder: what wrote the prompts.
        batch: prompts padded on the left.
        media_vectors: features of the media in the order of `batch.slots`; None without media.
        options: lengths and sampling.
        outputs: for each row the modalities that the answer must have, or None to leave it to the language
            model. Others than these (and text) are not started. "text" asks for some text.
        available: modalities that can be decoded; by default all that the model projects.
        seeds: one for each row, for sampling; None for chance.
        lead_ins: text said before a modality is forced, such as "Here it is:", so that the group has words to
            stand on; the model goes on from there until it starts or ends.
        should_stop: asked before every forward pass; true cancels.

    Yields:
        Text deltas and signal groups as they come, rows interleaved, and each row's whole answer at its end.

    Raises:
        BadArgument: for options or a batch that make no sense.
        MissingPart: when `outputs` names what is not available.
        LimitExceeded: when the required groups, or one that the model starts, cannot fit.
        NonFinite: when the model gives NaN or infinity.
        Cancelled: when `should_stop` said so.
    """
    options = options or GenerationConfig()
    _check(model, batch, options)
    run = _Run(model, builder, batch, options)
    run.rows = _rows(run, batch, outputs, model.generated if available is None else available, seeds)
    plain = {m: (text, builder.plain_text(f" {text.strip()}")) for m, text in (lead_ins or {}).items()}
    row_lead_ins = [dict(plain) for _ in run.rows]
    _maybe_cancel(should_stop)
    states = run.prefill(batch, media_vectors)
    while True:
        for row, chosen in zip(run.rows, run.choose(states), strict=True):
            yield from run.take(row, chosen, row_lead_ins[row.index])
        yield from run.finish()
        if not run.rows:
            return
        _maybe_cancel(should_stop)
        states, groups = run.advance()
        yield from groups


def generate(
    model: AnyGenModel,
    builder: PromptBuilder,
    batch: PromptBatch,
    *,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> list[Answer]:
    """Answer a batch of prompts.

    Args:
        model: as for `stream`.
        builder: as for `stream`.
        batch: as for `stream`.
        on_event: called with every event as it comes.
        options: everything else that `stream` takes.

    Returns:
        One answer for each row.

    Raises:
        AnyGenError: as `stream`.
    """
    answers: dict[int, Answer] = {}
    for event in stream(model, builder, batch, **options):
        if on_event is not None:
            on_event(event)
        if isinstance(event, AnswerFinished):
            answers[event.row] = event.answer
    return [answers[row] for row in range(len(answers))]


def _maybe_cancel(should_stop: Callable[[], bool] | None) -> None:
    if should_stop is not None and should_stop():
        raise Cancelled("the answer was cancelled before it was complete; ask again")


def _check(model: AnyGenModel, batch: PromptBatch, options: GenerationConfig) -> None:
    if model.training:
        raise BadArgument("the model is in training mode, expected evaluation; call model.eval() first")
    if not bool(batch.attention_mask[:, -1].all()):
        raise BadArgument("the batch is padded on the right, expected on the left; collate with side='left'")
    if not (math.isfinite(options.temperature) and options.temperature > 0):
        raise BadArgument(f"temperature is {options.temperature}, expected more than 0")
    if not 0 < options.top_p <= 1:
        raise BadArgument(f"top_p is {options.top_p}, expected more than 0 and at most 1")


def _rows(
    run: _Run,
    batch: PromptBatch,
    outputs: Sequence[Collection[Modality] | None] | None,
    available: Collection[Modality],
    seeds: Sequence[int] | None,
) -> list[AnswerRow]:
    """Start every row, checking that what it must have exists and fits."""
    lengths = batch.attention_mask.sum(-1).tolist()
    outputs = [None] * len(lengths) if outputs is None else outputs
    for name, given in (("outputs", outputs), ("seeds", seeds)):
        if given is not None and len(given) != len(lengths):
            raise BadArgument(f"found {len(given)} {name} for {len(lengths)} prompts, expected one for each")
    context = run.builder.context_length or run.model.llm.config.max_position_embeddings
    rows = []
    for index, (length, wanted) in enumerate(zip(lengths, outputs, strict=True)):
        generator = torch.Generator()
        if seeds is None:
            generator.seed()
        else:
            generator.manual_seed(seeds[index])
        required: list[Modality] = [m for m in dict.fromkeys(wanted or ()) if m != Modality.TEXT]
        _check_outputs(run, required, wanted, available)
        row = AnswerRow(
            index=index,
            length=length,
            room=min(run.options.max_new_tokens, context - length),
            sizes=run.tokens.num_signals(),
            max_media_parts=run.options.max_media_parts,
            allowed=frozenset(available if wanted is None else required),
            missing=required,
            needs_text=wanted is not None and Modality.TEXT in wanted,
            guaranteed=wanted is not None,
            generator=generator,
            text=TextPiece(run.tokenizer, run.builder.template.stop),
        )
        least = max(1, row.needed + row.needs_text)
        if row.room < least:
            raise LimitExceeded(
                f"the answer has room for {max(0, row.room)} tokens, expected at least {least}; raise "
                "max_new_tokens or shorten the conversation"
            )
        rows.append(row)
    return rows


def _check_outputs(
    run: _Run,
    required: Sequence[Modality],
    wanted: Collection[Modality] | None,
    available: Collection[Modality],
) -> None:
    if wanted is not None and not wanted:
        raise BadArgument("outputs is empty, expected at least one modality; leave it out for a free answer")
    for modality in required:
        if modality not in available or modality not in run.tokens.groups:
            known = ", ".join(str(m) for m in available) or "none"
            raise MissingPart(f"the model cannot make {modality}, only {known}; ask for those")
    if len(required) > run.options.max_media_parts:
        raise LimitExceeded(
            f"found {len(required)} outputs, the limit is {run.options.max_media_parts} media; ask for less"
        )
