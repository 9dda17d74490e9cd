"""What a language model says by itself: greedy, cut where it is long, kept as strictly read lines."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_tokenizer
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from anygen.errors import BadArgument
from anygen.llm import build_backbone, load_backbone
from anygen.stages.evaluation.everyday import QUESTIONS
from anygen.stages.replay import ReplayAnswer, __main__, everyday_prompts, read_answers, write_answers
from anygen.stages.replay.answers import LONGEST, answer, everyday_answers

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random language model with a chat template; its end is likely enough to come now and then."""
    torch.manual_seed(2)
    place = tmp_path_factory.mktemp("llm")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = TEMPLATE
    llm = build_backbone(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, initializer_range=0.5, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    llm.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def alone(llm: Any, tokenizer: Any, chat: list[str]) -> tuple[str, bool]:
    """The answer of one chat, one token after the other."""
    roles = ("user", "assistant")
    text = "".join(f"{roles[i % 2]}:{t}</s>" for i, t in enumerate(chat)) + "assistant:"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    said: list[int] = []
    while len(said) < LONGEST:
        with torch.inference_mode():
            said.append(int(llm(torch.tensor([ids + said])).logits[0, -1].argmax()))
        if said[-1] == tokenizer.eos_token_id:
            return tokenizer.decode(said[:-1], skip_special_tokens=True).strip(), True
    return tokenizer.decode(said, skip_special_tokens=True).strip(), False


def test_answers_in_a_batch_are_those_of_each_chat_alone(folder: Path) -> None:
    llm, tokenizer = load_backbone(folder), AutoTokenizer.from_pretrained(folder)
    chats = [("hi",), ("Show me a large red star",), ("a", "b", "c d e f g")]
    for chat, found in zip(chats, answer(llm, tokenizer, chats), strict=True):
        assert found.turns[:-1] == chat
        assert (found.turns[-1], found.ended) == alone(llm, tokenizer, list(chat))


def test_every_prompt_is_answered_and_some_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "made" / "replay.jsonl"
    monkeypatch.setattr(sys, "argv", ["replay", "--llm", str(folder), "--out", str(file)])
    __main__.main()
    answers = read_answers(file)
    first = [a.turns[0] for a in answers if len(a.turns) == 2]
    asked = everyday_prompts()
    assert set(first) <= set(asked) and len(first) > len(asked) // 2
    assert all(a.turns[-1] for a in answers)
    again = everyday_answers(load_backbone(folder), AutoTokenizer.from_pretrained(folder))
    assert list(itertools.islice(again, 5)) == answers[:5]


def test_no_question_of_the_evaluation_is_replayed() -> None:
    asked = everyday_prompts()
    assert len(set(QUESTIONS)) == 20 and len(asked) == len(set(asked)) > 150

    def plain(texts: Iterable[str]) -> set[str]:
        return {"".join(c for c in text.lower() if c.isalnum()) for text in texts}

    assert not plain(asked) & plain(QUESTIONS)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "replay.jsonl"
    with pytest.raises(BadArgument, match="found no file .*, expected a language model's own answers"):
        read_answers(file)
    assert write_answers(file, [ReplayAnswer(("a", "b"), True)]) == 1
    assert read_answers(file) == [ReplayAnswer(("a", "b"), True)]
    line = file.read_text()
    for wrong in ("{", "3", json.dumps({"turns": ["a", "b"]}), json.dumps({"turns": ["a"], "ended": True})):
        file.write_text(line + wrong + "\n")
        with pytest.raises(BadArgument, match="replay.jsonl, line 2"):
            read_answers(file)
    with pytest.raises(ZeroDivisionError):
        write_answers(file, (ReplayAnswer(("a", str(1 // n)), True) for n in (1, 0)))
    assert file.read_text().startswith(line), "a file that could not be written took the place of another"
    assert list(tmp_path.iterdir()) == [file]
