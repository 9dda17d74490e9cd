"""How fast the language model answers, as ratios inside one run: signal groups in one pass, and batches.

Times are CPU seconds of this process on one thread, so that a busy machine does not blur them.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from anygen.llm import build_backbone, extend_vocabulary, load_backbone

PROMPT, GROUP, ROWS = 64, 24, 8


def language_model(folder: Path | None) -> Any:
    """A language model with signal rows: that of a folder, or random numbers in SmolLM2-135M's sizes.

    Args:
        folder: transformers folder, or None.
    """
    if folder is None:
        llm = build_backbone(
            LlamaConfig(
                vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                tie_word_embeddings=True,
            )
        ).eval()  # fmt: skip
    else:
        llm = load_backbone(folder)
    extend_vocabulary(llm, range(llm.get_input_embeddings().weight.shape[0], 49152 + GROUP))
    return llm


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def feed(llm: Any, ids: torch.Tensor, cache: Any) -> Any:
    """Extend a cache by ids (B, T). Returns the cache."""
    embeds = llm.get_input_embeddings()(ids)
    return llm.get_decoder()(inputs_embeds=embeds, past_key_values=cache, use_cache=True).past_key_values


def groups(llm: Any, repeats: int) -> float:
    """Token by token over one pass, for a group of 24 behind a prompt of 64."""
    prompt = torch.randint(0, 49152, (1, PROMPT))
    group = torch.arange(49152, 49152 + GROUP)[None]
    start = feed(llm, prompt, None)
    head = llm.get_output_embeddings()

    def together() -> None:
        feed(llm, group, copy.deepcopy(start))

    def apart() -> None:
        cache = copy.deepcopy(start)
        for place in range(GROUP):
            embeds = llm.get_input_embeddings()(group[:, place : place + 1])
            output = llm.get_decoder()(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            head(output.last_hidden_state[:, -1]).argmax(-1)

    return seconds(apart, repeats) / seconds(together, repeats)


def batches(llm: Any, repeats: int, length: int = 16) -> float:
    """A batch of 8 requests over 8 single ones: prompts of 64, and some new tokens."""
    prompts = torch.randint(0, 49152, (ROWS, PROMPT))

    def answer(ids: torch.Tensor) -> None:
        cache, head = feed(llm, ids, None), llm.get_output_embeddings()
        last = ids[:, -1:]
        for _ in range(length):
            embeds = llm.get_input_embeddings()(last)
            output = llm.get_decoder()(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
            last = head(output.last_hidden_state[:, -1]).argmax(-1)[:, None]

    together = seconds(lambda: answer(prompts), repeats)
    return together / seconds(lambda: [answer(prompts[i : i + 1]) for i in range(ROWS)], repeats)


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--llm", type=Path, help="transformers folder; random numbers without it")
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of so many runs counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    llm = language_model(arguments.llm)
    with torch.inference_mode():
        found = {
            "a group of 24 token by token over one pass": groups(llm, arguments.repeats),
            "a batch of 8 requests over 8 singles": batches(llm, arguments.repeats),
        }
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, value in found.items():
        sys.stdout.write(f"{name:<48} {value:8.3f}\n")


if __name__ == "__main__":
    main()
