"""From a conversation to the ids, slots and labels that the language model takes.

Only two things write ids: `PlainText`, which never yields a control id, and this module, which places bos,
eos, media slots and signal groups where the conversation has them. So neither a user nor a template can
smuggle one in. The same code serves generation and training (labels on what the assistant says), so that a
generation prompt is exactly the beginning of the training sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from .chat_templates import TEMPLATES, ChatTemplate
from .errors import BadArgument, LimitExceeded
from .messages import MediaPart, TextPart
from .modality import MEDIA_INPUTS, Modality
from .tokens import PlainText, SignalTokens

IGNORED = -100
"""Label of a position that no loss is taken at, as in `torch.nn.functional.cross_entropy`."""


@dataclass(frozen=True)
class SlotPart:
    """A media item that is not in memory: a scene to render, the row of a cached vector."""

    modality: Modality
    """Anything but TEXT."""
    item: Any = None
    """Handed on to `PromptBatch.slots`."""


@dataclass(frozen=True)
class SignalPart:
    """The place where an assistant's turn has the signal group of one modality (training)."""

    modality: Modality
    """Any modality that the model generates."""
    target: Any = None
    """Handed on to `PromptBatch.signals`: a caption, the key of a cached target."""


class Turn(Protocol):
    """What a turn must have; `anygen.messages.Message` does."""

    @property
    def role(self) -> str:
        """One of system, user, assistant."""
        ...

    @property
    def parts(self) -> Sequence[Any]:
        """`str`, `TextPart`, `MediaPart`, `SlotPart` or `SignalPart`, in order."""
        ...


@dataclass(frozen=True)
class TrainingTurn:
    """A turn whose parts need not be loaded media."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    parts: tuple[str | TextPart | MediaPart | SlotPart | SignalPart, ...]
    """In order; texts that stand side by side are joined as they are."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A media item or a signal group and where it stands in its row."""

    modality: Modality
    """What it is."""
    start: int
    """First position."""
    length: int
    """Number of positions."""
    item: Any
    """The media object or `SlotPart.item`; the target of a signal."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One tokenised conversation."""

    input_ids: tuple[int, ...]
    """Ids; media slots hold the open delimiter's id, which the projected media replace."""
    labels: tuple[int, ...]
    """Ids at what the assistant says (not shifted), `IGNORED` elsewhere."""
    slots: tuple[Placed, ...] = ()
    """Media items, in order."""
    signals: tuple[Placed, ...] = ()
    """Signal groups, in order."""

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.input_ids)


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Prompts padded to one length. Media and signals are in row-major order, row by row."""

    input_ids: Tensor
    """(B, S) int64."""
    attention_mask: Tensor
    """(B, S) int64, 0 at padding."""
    slot_mask: Tensor
    """(B, S) bool, True where projected media go."""
    labels: Tensor
    """(B, S) int64, not shifted, `IGNORED` where nothing is learned."""
    slots: tuple[Placed, ...]
    """All media items; row i of the media vectors belongs to slots[i]."""
    signals: tuple[Placed, ...]
    """All signal groups; those of one modality are in the order of the model's `signal_states`."""

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch with its tensors on a device."""
        names = ("input_ids", "attention_mask", "slot_mask", "labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


class PromptBuilder:
    """Writes prompts for one tokenizer, one template and one number of tokens per media item."""

    def __init__(
        self,
        tokenizer: Any,
        tokens: SignalTokens,
        *,
        template: ChatTemplate | str,
        num_slot_tokens: int,
        context_length: int | None = None,
    ) -> None:
        """Bind the parts.

        Args:
            tokenizer: a fast `transformers` tokenizer with eos; bos is used where there is one.
            tokens: its control ids.
            template: a `ChatTemplate`, or its name in `TEMPLATES`.
            num_slot_tokens: language-model tokens of one media item (`InputProjection.num_tokens`).
            context_length: most tokens of a prompt; None for no limit.

        Raises:
            BadArgument: for an unknown template, a tokenizer without eos, or one without the template's
                control tokens.
        """
        if isinstance(template, str):
            if template not in TEMPLATES:
                raise BadArgument(
                    f"found chat template {template[:40]!r}, expected one of {', '.join(TEMPLATES)}"
                )
            template = TEMPLATES[template]
        if tokenizer.eos_token_id is None:
            raise BadArgument("the tokenizer has no eos token, expected one; set eos_token")
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.template = template
        self.num_slot_tokens = num_slot_tokens
        self.context_length = context_length
        self.plain_text = PlainText(tokenizer, tokens)
        self.control_ids = {name: self._control_id(name) for name in template.control}
        names = "|".join(re.escape(name) for name in template.control)
        self.control_pattern = re.compile(f"({names})" if names else "(?!)")
        pad = tokenizer.pad_token_id
        self.pad_id: int = tokenizer.eos_token_id if pad is None else pad

    def _control_id(self, name: str) -> int:
        """The id of a special token that the template is written with. Raises BadArgument without one."""
        found = self.tokenizer.convert_tokens_to_ids(name)
        if found is None or found not in self.tokens.control_ids:
            raise BadArgument(
                f"the tokenizer has no special token {name}, which the chat template is written with; take "
                "the template of this language model"
            )
        return int(found)

    def encode(self, turns: Iterable[Turn], *, add_generation_prompt: bool = True) -> Prompt:
        """Write one conversation.

        Args:
            turns: messages, or training turns; a system turn may come first.
            add_generation_prompt: end with the assistant's prefix, for the model to go on. Without it the
                sequence ends where the last assistant's turn ends, for training.

        Returns:
            Ids, labels, slots and signals.

        Raises:
            BadArgument: for turns or parts that cannot be written.
            LimitExceeded: when the prompt is longer than `context_length`.
        """
        turns = list(turns)
        self._check_turns(turns, add_generation_prompt)
        template, writer = self.template, _Writer(self)
        if template.bos and self.tokenizer.bos_token_id is not None:
            writer.ids([self.tokenizer.bos_token_id])
        own = [turn for turn in turns if turn.role == "system"]
        system = "".join(_text_of(part) for part in own[0].parts) if own else template.system
        if system:
            writer.template(template.system_prefix)
            writer.text(system)
            writer.template(template.system_end)
        writer.template(template.opening)
        for turn in turns[len(own) :]:
            learned = turn.role == "assistant"
            writer.template(template.assistant_prefix if learned else template.user_prefix)
            asked = learned or template.requests
            parts = turn.parts if asked else [p for p in turn.parts if not isinstance(p, str | TextPart)]
            self._write_parts(writer, parts, learned)
            if learned:
                writer.template(template.assistant_end, learned=True)
                if template.ends_with_eos:
                    writer.ids([self.tokenizer.eos_token_id], learned=True)
        if add_generation_prompt:
            writer.template(template.assistant_prefix)
        prompt = writer.finish()
        if self.context_length is not None and len(prompt) > self.context_length:
            raise LimitExceeded(
                f"the conversation takes {len(prompt)} tokens, the model reads {self.context_length}; "
                "shorten it"
            )
        return prompt

    def _check_turns(self, turns: Sequence[Turn], add_generation_prompt: bool) -> None:
        """Raise BadArgument unless the roles fit what is asked for."""
        roles = [turn.role for turn in turns]
        if set(roles) <= {"system"}:
            raise BadArgument("the conversation has no turns, expected at least one user turn; add it")
        if "system" in roles[1:]:
            raise BadArgument("found a system turn in the middle, expected it first only; move it to the top")
        expected = "user" if add_generation_prompt else "assistant"
        if roles[-1] != expected:
            raise BadArgument(f"the last turn is the {roles[-1]}'s, expected the {expected}'s; end with it")

    def _write_parts(self, writer: _Writer, parts: Sequence[Any], learned: bool) -> None:
        """Write the parts of a turn: joined texts after one space, slots, signal groups."""
        text, space = "", self.template.turn_space
        for part in parts:
            if isinstance(part, str | TextPart):
                text += _text_of(part)
                continue
            writer.content(text, learned, space)
            text, space = "", " "
            if isinstance(part, MediaPart | SlotPart):
                writer.slot(part.modality, part.media if isinstance(part, MediaPart) else part.item)
            elif isinstance(part, SignalPart) and learned:
                writer.signal(part)
            else:
                found = "a signal" if isinstance(part, SignalPart) else type(part).__name__
                raise BadArgument(
                    f"found {found} in a turn, expected text and media; signals belong to the assistant"
                )
        writer.content(text, learned, space)

    def collate(self, prompts: Sequence[Prompt], *, side: Literal["left", "right"]) -> PromptBatch:
        """Pad prompts to one length.

        Args:
            prompts: at least one.
            side: where padding goes: "left" for generation, "right" for training.

        Returns:
            The batch, on the CPU.

        Raises:
            BadArgument: for no prompts.
        """
        if not prompts:
            raise BadArgument("found no prompts, expected at least one")
        shape = (len(prompts), max(len(prompt) for prompt in prompts))
        input_ids, labels = torch.full(shape, self.pad_id), torch.full(shape, IGNORED)
        attention_mask = torch.zeros(shape, dtype=torch.long)
        slot_mask = torch.zeros(shape, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            offset = shape[1] - len(prompt) if side == "left" else 0
            where = slice(offset, offset + len(prompt))
            input_ids[row, where] = torch.tensor(prompt.input_ids)
            labels[row, where] = torch.tensor(prompt.labels)
            attention_mask[row, where] = 1
            for slot in prompt.slots:
                slot_mask[row, offset + slot.start : offset + slot.start + slot.length] = True
        return PromptBatch(
            input_ids=input_ids,
            attention_mask=attention_mask,
            slot_mask=slot_mask,
            labels=labels,
            slots=tuple(slot for prompt in prompts for slot in prompt.slots),
            signals=tuple(signal for prompt in prompts for signal in prompt.signals),
        )


class _Writer:
    """Collects ids; texts that follow one another are tokenised as one, unless one is learned and one not."""

    def __init__(self, builder: PromptBuilder) -> None:
        self._builder = builder
        self._ids: list[int] = []
        self._labels: list[int] = []
        self._slots: list[Placed] = []
        self._signals: list[Placed] = []
        self._text = ""
        self._learned = False

    def text(self, text: str, *, learned: bool = False) -> None:
        """Add text as it is."""
        if text and learned != self._learned:
            self._flush()
            self._learned = learned
        self._text += text

    def template(self, text: str, *, learned: bool = False) -> None:
        """Add text of the template, its control tokens as their ids."""
        for piece in self._builder.control_pattern.split(text):
            control = self._builder.control_ids.get(piece)
            if control is None:
                self.text(piece, learned=learned)
            else:
                self.ids([control], learned=learned)

    def content(self, text: str, learned: bool, space: str) -> None:
        """Add what somebody says: stripped, after `space`; nothing for blank text."""
        text = text.strip()
        if text:
            self.text(space + text, learned=learned)

    def ids(self, ids: Sequence[int], *, learned: bool = False) -> None:
        """Add control ids."""
        self._flush()
        self._ids += ids
        self._labels += ids if learned else [IGNORED] * len(ids)

    def slot(self, modality: Modality, item: Any) -> None:
        """Add a media item between its delimiters; never learned."""
        if modality not in MEDIA_INPUTS:
            raise BadArgument(f"found a slot for {modality}, expected one of {', '.join(MEDIA_INPUTS)}")
        tokens, length = self._builder.tokens, self._builder.num_slot_tokens
        name = self._builder.template.media_names.get(modality)
        if name is not None:
            self.text(f" {name}")
        self._flush()
        start = len(self._ids) + 1
        self._slots.append(Placed(modality=modality, start=start, length=length, item=item))
        self.ids([tokens.open_id] * (1 + length) + [tokens.close_id])

    def signal(self, part: SignalPart) -> None:
        """Add a whole signal group; always learned."""
        group = self._builder.tokens.groups.get(part.modality)
        if group is None:
            valid = ", ".join(self._builder.tokens.groups)
            raise BadArgument(f"found a signal for {part.modality}, expected one of {valid}")
        self._flush()
        start = len(self._ids)
        placed = Placed(modality=part.modality, start=start, length=len(group), item=part.target)
        self._signals.append(placed)
        self.ids(group, learned=True)

    def finish(self) -> Prompt:
        """The prompt."""
        self._flush()
        return Prompt(
            input_ids=tuple(self._ids), labels=tuple(self._labels),
            slots=tuple(self._slots), signals=tuple(self._signals),
        )  # fmt: skip

    def _flush(self) -> None:
        """Tokenise the text so far."""
        text, self._text = self._text, ""
        ids = self._builder.plain_text(text)
        self._ids += ids
        self._labels += ids if self._learned else [IGNORED] * len(ids)


def _text_of(part: Any) -> str:
    """Text of a text part. Raises BadArgument for other parts."""
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, str):
        return part
    raise BadArgument(f"found {type(part).__name__} in a system turn, expected text only")
