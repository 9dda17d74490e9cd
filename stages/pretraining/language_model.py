"""Pretrains the bundle's language model on words alone: dialogues whose media are told, not shown.

The system's own stages then teach it to see and to signal, as they do a published language model: where this
stage says `(picture: a small red star)`, encoder alignment puts projected media tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from anygen.modality import GENERATED
from anygen.prompting import IGNORED, PromptBatch, PromptBuilder
from anygen.stages.dialogue_data import plain_text, told_turns
from anygen.tokens import SignalTokens
from anygen.toybox.dialogues import DIRECTIONS, make_dialogue, sample_dialogue

from .tokenizer import train_tokenizer


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """How large the Llama is and how it reads."""

    width: int = 192
    """Hidden width."""
    layers: int = 4
    """Transformer blocks."""
    heads: int = 6
    """Attention heads."""
    intermediate: int = 512
    """Width of the gated feed-forward layers."""
    context_length: int = 512
    """Most positions."""
    vocab_size: int = 1024
    """Tokenizer size, before delimiters and signal tokens."""
    corpus_size: int = 12_000
    """Dialogues that the tokenizer is trained on."""
    template: str = "toybox"
    """Chat template, a name in `anygen.chat_templates.TEMPLATES`."""
    user_weight: float = 0.1
    """Loss weight of the user's words: worth modelling, but they must not crowd out the answers."""
    seed: int = 0
    """Initialisation and dialogues."""


class LanguageModelStage:
    """Next-token cross-entropy on told dialogues."""

    name = "language-model"
    dataset_size = None

    def __init__(self, config: LanguageModelConfig) -> None:
        self.config = config
        self.tokenizer = self._train_tokenizer()
        self.vocab_size = len(self.tokenizer)
        tokens = SignalTokens.add_to(self.tokenizer, dict.fromkeys(GENERATED, 1))
        self.builder = PromptBuilder(self.tokenizer, tokens, template=config.template, num_slot_tokens=1)
        torch.manual_seed(config.seed)
        self.model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=self.vocab_size,
                hidden_size=config.width,
                intermediate_size=config.intermediate,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context_length,
                bos_token_id=self.tokenizer.bos_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
                tie_word_embeddings=False,
            )
        )

    def _train_tokenizer(self) -> PreTrainedTokenizerFast:
        corpus = (plain_text(self._turns(index)) for index in range(self.config.corpus_size))
        return train_tokenizer(corpus, vocab_size=self.config.vocab_size)

    def _turns(self, index: int) -> list[Any]:
        rng = np.random.default_rng((self.config.seed, int(index)))
        return told_turns(sample_dialogue(rng), rng, signals=False)

    def modules(self) -> dict[str, nn.Module]:
        """The language model."""
        return {"llm": self.model}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """All of it."""
        return [{"params": list(self.model.parameters())}]

    def batch(self, indices: NDArray[np.int64]) -> list[PromptBatch]:
        """Told dialogues in groups of like length, so that little is computed on padding."""
        prompts = [self.builder.encode(self._turns(int(i)), add_generation_prompt=False) for i in indices]
        prompts.sort(key=len)
        groups = np.array_split(np.arange(len(prompts)), min(4, len(prompts)))
        return [self.builder.collate([prompts[i] for i in group], side="right") for group in groups]

    def training_forward(self, batch: list[PromptBatch]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Weighted cross-entropy over the whole batch; `answer` is that of the answers alone."""
        sums = torch.stack([self._sums(group) for group in batch]).sum(0)
        return {"loss": sums[0] / sums[1], "answer": sums[2] / sums[3]}, {}

    def _sums(self, batch: PromptBatch) -> Tensor:
        """Weighted loss, weights, answers' loss, answers' tokens; (4,)."""
        logits = self.model(batch.input_ids, attention_mask=batch.attention_mask).logits[:, :-1]
        targets = batch.input_ids[:, 1:]
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        answers = (batch.labels[:, 1:] != IGNORED).float()
        weights = batch.attention_mask[:, 1:] * (answers + self.config.user_weight * (1 - answers))
        pairs = ((losses * weights, weights), (losses * answers, answers))
        return torch.stack([x.sum() for pair in pairs for x in pair])

    def evaluate(self) -> dict[str, float]:
        """Share of whole answers that greedy decoding gets right to the letter, by direction."""
        scores = {}
        for direction in DIRECTIONS:
            rng = np.random.default_rng((self.config.seed + 1, 4))
            dialogues = [make_dialogue(direction, rng, split="eval") for _ in range(32)]
            turns = [told_turns(d, rng, signals=False) for d in dialogues]
            prompts = [self.builder.encode(t, add_generation_prompt=False) for t in turns]
            batch = self.builder.collate(prompts, side="right")
            logits = self.model(batch.input_ids, attention_mask=batch.attention_mask).logits
            scores[direction] = float(exact_answers(logits, batch.labels).float().mean())
        scores["mean"] = sum(scores.values()) / len(scores)
        return scores

    def save(self, folder: Path) -> None:
        """Model and tokenizer, as any causal language model is published."""
        self.model.save_pretrained(folder)
        self._train_tokenizer().save_pretrained(
            folder
        )  # without the signal tokens: later stages add their own


def exact_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """Rows (B,) bool whose every label is the most probable token: greedy decoding writes them."""
    hits = (logits[:, :-1].argmax(-1) == labels[:, 1:]) | (labels[:, 1:] == IGNORED)
    return hits.all(-1)
