"""Answers of a language model to everyday prompts, greedy, written once as JSON lines.

    python -m anygen.stages.replay --llm runs/smollm2/llm --out runs/small/replay.jsonl

One object a line: `turns`, alternating user and assistant, and `ended`, whether the last answer came to its
end before it was cut.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from anygen.errors import BadArgument
from anygen.prompting import Prompt, PromptBuilder, TrainingTurn

from .prompts import FOLLOW_UPS, everyday_prompts

LONGEST = 48
"""Most tokens of an answer."""

BATCH = 24
"""Prompts that are answered together."""


@dataclass(frozen=True)
class ReplayAnswer:
    """A conversation whose last turn is what the language model said."""

    turns: tuple[str, ...]
    """User and assistant in turn; the assistant's is the last."""
    ended: bool
    """Whether the last answer came to its end; otherwise it is cut, and its end is not to be learned."""

    def __post_init__(self) -> None:
        if len(self.turns) < 2 or len(self.turns) % 2:
            raise BadArgument(f"found {len(self.turns)} turns, expected an even number; make the file anew")


@torch.inference_mode()
def answer(llm: Any, tokenizer: Any, chats: Sequence[Sequence[str]]) -> list[ReplayAnswer]:
    """Let a language model go on, greedily.

    Args:
        llm: A `transformers` causal language model.
        tokenizer: Its tokenizer, with a chat template.
        chats: Turns, user and assistant alternating, the user's the last.

    Returns:
        The same chats with the answers.
    """
    texts = [
        tokenizer.apply_chat_template(
            [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(chat)],
            add_generation_prompt=True, tokenize=False,
        )
        for chat in chats
    ]  # fmt: skip
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    made = llm.generate(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=False,
        max_new_tokens=LONGEST, pad_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )[:, batch.input_ids.shape[1] :]  # fmt: skip
    found = []
    for chat, ids in zip(chats, made.tolist(), strict=True):
        ended = tokenizer.eos_token_id in ids
        said = ids[: ids.index(tokenizer.eos_token_id)] if ended else ids
        found.append(ReplayAnswer((*chat, tokenizer.decode(said, skip_special_tokens=True).strip()), ended))
    return found


def everyday_answers(llm: Any, tokenizer: Any) -> Iterator[ReplayAnswer]:
    """Answers to every everyday prompt, and to what follows on every third of them that came to its end."""
    prompts = everyday_prompts()
    for start in range(0, len(prompts), BATCH):
        first = [
            a for a in answer(llm, tokenizer, [(p,) for p in prompts[start : start + BATCH]]) if a.turns[-1]
        ]
        yield from first
        followed = [
            (*a.turns, FOLLOW_UPS[(start + i) % len(FOLLOW_UPS)])
            for i, a in enumerate(first) if i % 3 == 0 and a.ended
        ]  # fmt: skip
        if followed:
            yield from (a for a in answer(llm, tokenizer, followed) if a.turns[-1])


def write_answers(path: Path, answers: Iterable[ReplayAnswer]) -> int:
    """Write answers as JSON lines, whole or not at all; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, count = path.with_name(f".{path.name}.{os.getpid()}.tmp"), 0
    try:
        with draft.open("w", encoding="utf-8") as file:
            for found in answers:
                file.write(json.dumps(asdict(found), ensure_ascii=False) + "\n")
                count += 1
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return count


def read_answers(path: Path) -> list[ReplayAnswer]:
    """Read what `write_answers` wrote.

    Raises:
        BadArgument: There is no such file, or a line of it is something else.
    """
    if not path.is_file():
        raise BadArgument(
            f"found no file {path}, expected a language model's own answers; "
            f"make it with python -m anygen.stages.replay --llm FOLDER --out {path}"
        )
    answers = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            answers.append(ReplayAnswer(tuple(map(str, entry["turns"])), bool(entry["ended"])))
        except (ValueError, KeyError, TypeError) as error:
            raise BadArgument(f"{path.name}, line {number}: {error}; make the file anew") from None
    return answers


def replay_prompt(builder: PromptBuilder, found: ReplayAnswer) -> Prompt:
    """Write an answer for training.

    Args:
        builder: Of the language model that gave it.
        found: The answer; an end that it did not come to is not written.

    Returns:
        A prompt whose labels are the last turn.
    """
    turns = [
        TrainingTurn(role=("user", "assistant")[i % 2], parts=(text,)) for i, text in enumerate(found.turns)
    ]
    prompt = builder.encode(turns, add_generation_prompt=False)
    if found.ended or not builder.template.ends_with_eos:
        return prompt
    return Prompt(input_ids=prompt.input_ids[:-1], labels=prompt.labels[:-1])
