"""Does `small` still chat as the language model alone does: with its adapter off, and with it on?

    python benchmarks/small.py runs/small/model runs/smollm2/llm --card runs/small/scores.md

Twenty everyday questions (`anygen.stages.evaluation.everyday`; none of them is in the replay) are answered
greedily by the published language model with its own chat template and by `small` as it is. With its adapter
off, `small` must give the published model's logits, bit for bit, over prompt and answer. Of the answers with
the adapter on it counts those without media that nobody asked for and without the toybox's set phrases, and
says how likely the published model itself finds their words: as likely as its own means that it could have
said them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from anygen.checkpoints.folder import load_model
from anygen.config import GenerationConfig
from anygen.generation import generate
from anygen.llm import SignalGroup, adapter_disabled, load_backbone
from anygen.prompting import PromptBuilder, TrainingTurn
from anygen.stages.evaluation.everyday import QUESTIONS

LONGEST = 24
"""Most tokens of an answer."""

OPTIONS = GenerationConfig(max_new_tokens=LONGEST, do_sample=False)
"""Greedy."""

PHRASES = (
    "Here is an image of",
    "Here is the sound of",
    "Here is a video of",
    "This is a small",
    "small world",
)
"""How the toybox's answers begin."""


@torch.inference_mode()
def alone(llm: Any, ids: list[int], eos: int) -> list[int]:
    """What a plain language model says, token by token."""
    said: list[int] = []
    step, cache = torch.tensor([ids]), None
    while len(said) < LONGEST and (not said or said[-1] != eos):
        output = llm(input_ids=step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        said.append(int(output.logits[0, -1].argmax()))
        step = torch.tensor([[said[-1]]])
    return said


@torch.inference_mode()
def logits_of(llm: Any, ids: list[int]) -> torch.Tensor:
    """Logits (T, vocabulary) at every token."""
    logits: torch.Tensor = llm(input_ids=torch.tensor([ids])).logits[0]
    return logits


@torch.inference_mode()
def likelihood(llm: Any, ids: list[int], said: list[int]) -> float:
    """Mean log-probability of the tokens of an answer."""
    logits = llm(input_ids=torch.tensor([ids + said])).logits[0, len(ids) - 1 : -1]
    chosen = logits.log_softmax(-1).gather(-1, torch.tensor(said)[:, None])
    return float(chosen.mean())


def ask(loaded: Any, builder: PromptBuilder, question: str) -> Any:
    """The model's free answer, as `generate` gives it."""
    turns = [TrainingTurn(role="user", parts=(question,))]
    batch = builder.collate([builder.encode(turns)], side="left")
    return generate(loaded.model, builder, batch, options=OPTIONS)[0]


def compare(folder: Path, published: Path) -> dict[str, Any]:
    """All answers, and what they have in common."""
    loaded, llm = load_model(folder, modalities=()), load_backbone(published)
    tokenizer = AutoTokenizer.from_pretrained(published)
    builder = PromptBuilder(
        loaded.tokenizer, loaded.model.tokens, template=loaded.config.chat_template,
        num_slot_tokens=loaded.config.input_projection.num_tokens,
    )  # fmt: skip
    rows = []
    for question in QUESTIONS:
        chat = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        ours = list(builder.encode([TrainingTurn(role="user", parts=(question,))]).input_ids)
        base = alone(llm, ids, tokenizer.eos_token_id)
        with adapter_disabled(loaded.model.llm):
            off = logits_of(loaded.model.llm, ours + base)
        answer = ask(loaded, builder, question)
        words = "".join(part for part in answer.parts if isinstance(part, str))
        on = tokenizer(words, add_special_tokens=False).input_ids or [tokenizer.eos_token_id]
        media = sum(isinstance(part, SignalGroup) for part in answer.parts)
        rows.append({
            "question": question, "same_prompt": ids == ours,
            "same_off": torch.equal(off, logits_of(llm, ids + base)),
            "alone": tokenizer.decode(base, skip_special_tokens=True), "on": words, "media": media,
            "toybox": any(phrase in words for phrase in PHRASES),
            "likelihood_alone": likelihood(llm, ids, base), "likelihood_on": likelihood(llm, ids, on),
        })  # fmt: skip
        print(f"{question}\n  alone: {rows[-1]['alone']}\n  on:    {words}", flush=True)
    return {
        "rows": rows, "questions": len(rows),
        "same_prompt": sum(r["same_prompt"] for r in rows), "same_off": sum(r["same_off"] for r in rows),
        "same_words_on": sum(r["alone"].strip() == r["on"].strip() for r in rows),
        "plain": sum(not r["media"] and not r["toybox"] for r in rows),
        "likelihood_alone": sum(r["likelihood_alone"] for r in rows) / len(rows),
        "likelihood_on": sum(r["likelihood_on"] for r in rows) / len(rows),
    }  # fmt: skip


def as_card(found: dict[str, Any]) -> str:
    """The figures as a section of the model card."""
    count = found["questions"]
    lines = [
        "## Chat", "",
        f"Of {count} everyday questions (`python benchmarks/small.py`), prompts that are token for token "
        f"the language model's own: {found['same_prompt']}; with the adapter off, those whose logits are the "
        f"language model's bit for bit over prompt and answer, hence its tokens: {found['same_off']}; with "
        f"it on, answers in words alone, without the toybox's phrases: {found['plain']}, of them its very "
        f"words: {found['same_words_on']}. To the language model alone the words of its own "
        f"answers have a mean log-probability of {found['likelihood_alone']:.2f} a token, those with the "
        f"adapter on {found['likelihood_on']:.2f}.",
        "", "| question | alone | with the adapter on |", "|---|---|---|",
    ]  # fmt: skip
    for row in found["rows"]:
        cells = (" ".join(row[key].replace("|", "/").split()) for key in ("question", "alone", "on"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Answers are cut after {LONGEST} tokens.", ""])


def main() -> None:
    """Ask, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder that `anygen make small` made")
    parser.add_argument("published", type=Path, help="folder that `anygen import gguf` made")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--card", type=Path, help="write the figures for the model card")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = compare(arguments.model, arguments.published)
    print(json.dumps({k: v for k, v in found.items() if k != "rows"}))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.card is not None:
        arguments.card.write_text(as_card(found), encoding="utf-8")


if __name__ == "__main__":
    main()
