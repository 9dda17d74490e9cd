"""Language models of several families under one code path: rows, adapter, groups, cache, batches, folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_tokenizer
from transformers import (
    AutoConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from anygen.config import GenerationConfig
from anygen.generation import Answer, SignalGroup, generate
from anygen.llm import (
    adapter_disabled,
    add_lora,
    build_backbone,
    extend_vocabulary,
    load_adapter,
    load_backbone,
    lora_parameters,
    row_parameters,
    save_adapter,
    save_backbone,
    token_logits,
)
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.projections import InputProjection, OutputProjection
from anygen.prompting import PromptBatch, PromptBuilder, SlotPart, TrainingTurn
from anygen.tokens import SignalTokens

WIDTH, ENCODER, WINDOW = 16, 6, 16
COUNTS = {Modality.IMAGE: 4, Modality.VIDEO: 6, Modality.AUDIO: 2}
COMMON: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
WINDOWED = {"sliding_window": WINDOW}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen2-windowed": (Qwen2Config, {"use_sliding_window": True, "max_window_layers": 1, **WINDOWED}),
    "qwen3": (Qwen3Config, {}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "mistral-windowed": (MistralConfig, WINDOWED),
    "gemma": (GemmaConfig, {}),
    "gemma2": (Gemma2Config, {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 4, **WINDOWED}),
    "gemma3": (Gemma3TextConfig, {"query_pre_attn_scalar": 4, **WINDOWED}),
}
CASES = [(name, tied) for name in FAMILIES for tied in (False, True)]
CONVERSATIONS: list[tuple[Any, ...]] = [
    ("show me a star",),
    ("a small red circle moving left on a black background " * 3,),
    (SlotPart(Modality.IMAGE), "what is it", SlotPart(Modality.AUDIO)),
]
OUTPUTS = [[Modality.IMAGE, Modality.VIDEO], [Modality.AUDIO], [Modality.VIDEO, Modality.IMAGE]]


class Family:
    """A whole tiny model around a language model of one family."""

    def __init__(self, name: str, *, tied: bool) -> None:
        torch.manual_seed(0)
        special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), **special)
        size = len(self.tokenizer)
        self.tokens = SignalTokens.add_to(self.tokenizer, COUNTS)
        kind, own = FAMILIES[name]
        ids = {
            f"{part}_token_id": getattr(self.tokenizer, f"{part}_token_id") for part in ("bos", "eos", "pad")
        }
        self.llm = build_backbone(kind(vocab_size=size, tie_word_embeddings=tied, **COMMON, **own, **ids))
        for parameter in self.llm.parameters():  # families differ in what they start at, norms at 0 or 1
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        extend_vocabulary(self.llm, self.tokens.new_ids)
        add_lora(self.llm, rank=2)
        for parameter in lora_parameters(self.llm).values():
            torch.nn.init.normal_(parameter, std=0.1)
        layers = {"num_encoder_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "ffn_dim": 8}
        self.model = AnyGenModel(
            llm=self.llm,
            tokens=self.tokens,
            input_projection=InputProjection(encoder_dim=ENCODER, llm_dim=WIDTH, num_tokens=3),
            output_projections={
                m: OutputProjection(llm_dim=WIDTH, cond_dim=4, num_queries=2, inner_dim=8, **layers)
                for m in COUNTS
            },
        ).eval()
        self.builder = PromptBuilder(
            self.tokenizer, self.tokens, template="toybox", num_slot_tokens=3, context_length=512
        )

    def batch(self, *conversations: tuple[Any, ...]) -> PromptBatch:
        turns = [[TrainingTurn("user", parts)] for parts in conversations]
        return self.builder.collate([self.builder.encode(t) for t in turns], side="left")

    def answer(self, *conversations: tuple[Any, ...], length: int = 40, **options: Any) -> list[Answer]:
        settings = GenerationConfig(max_new_tokens=length)
        return generate(self.model, self.builder, self.batch(*conversations), options=settings, **options)


@pytest.mark.parametrize(("name", "tied"), CASES)
def test_without_media_it_is_plain_generate(name: str, tied: bool) -> None:
    family = Family(name, tied=tied)
    eos = family.tokenizer.eos_token_id
    banned = sorted(i for i in family.tokens.control_ids if i != eos)
    batch = family.batch(*CONVERSATIONS[:2])
    answers = family.answer(*CONVERSATIONS[:2], outputs=[[Modality.TEXT]] * 2)
    plain = family.llm.generate(
        batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=40, do_sample=False,
        suppress_tokens=banned,
    )  # fmt: skip
    for row, answer in enumerate(answers):
        expected = plain[row, batch.input_ids.shape[1] :].tolist()
        expected = expected[: expected.index(eos)] if eos in expected else expected
        assert list(answer.token_ids) == expected


@pytest.mark.parametrize(("name", "tied"), CASES)
def test_a_batch_is_its_singles(name: str, tied: bool) -> None:
    family = Family(name, tied=tied)
    vectors = torch.nn.functional.normalize(torch.randn(2, ENCODER), dim=-1)
    together = family.answer(*CONVERSATIONS, outputs=OUTPUTS, media_vectors=vectors)
    for row, (conversation, wanted) in enumerate(zip(CONVERSATIONS, OUTPUTS, strict=True)):
        media = vectors if row == 2 else None
        (alone,) = family.answer(conversation, outputs=[wanted], media_vectors=media)
        assert alone.token_ids == together[row].token_ids
        for one, other in zip(alone.parts, together[row].parts, strict=True):
            if isinstance(one, SignalGroup):
                assert isinstance(other, SignalGroup)
                assert torch.allclose(one.signal_states, other.signal_states, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_groups_and_cache_are_the_whole_sequence(name: str) -> None:
    family = Family(name, tied=True)
    batch = family.batch(*CONVERSATIONS[:2])
    for row, answer in enumerate(family.answer(*CONVERSATIONS[:2], outputs=OUTPUTS[:2])):
        prompt = batch.input_ids[row][batch.attention_mask[row].bool()]
        whole = family.model(torch.cat([prompt, torch.tensor(answer.token_ids)])[None])
        seen: dict[Modality, int] = {}
        for group in (part for part in answer.parts if isinstance(part, SignalGroup)):
            nth = seen.get(group.modality, 0)
            seen[group.modality] = nth + 1
            assert torch.allclose(group.signal_states, whole.signal_states[group.modality][nth], atol=1e-4)
        assert sum(seen.values()) >= len(OUTPUTS[row])


@pytest.mark.parametrize(("name", "tied"), CASES)
def test_our_logits_are_the_models(name: str, tied: bool) -> None:
    family = Family(name, tied=tied)
    ids = torch.randint(4, 300, (1, 9), generator=torch.Generator().manual_seed(1))
    ids[0, -1] = family.tokens.new_ids[0]
    states = family.llm.get_decoder()(input_ids=ids).last_hidden_state
    assert torch.allclose(token_logits(family.llm, states), family.llm(ids).logits, atol=1e-6)
    assert torch.allclose(family.model(ids, return_logits=True).logits, family.llm(ids).logits, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_new_rows_enter_as_large_as_old_ones(name: str) -> None:
    family = Family(name, tied=True)
    embedding = family.llm.get_input_embeddings()
    old = embedding(torch.arange(4, 300)).std()
    new = embedding(torch.tensor(family.tokens.new_ids)).std()
    assert 0.5 < float(new / old) < 2.0


@pytest.mark.parametrize(("name", "tied"), CASES)
def test_folder_and_switched_off(name: str, tied: bool, tmp_path: Path) -> None:
    family = Family(name, tied=tied)
    llm, ids = family.llm, torch.arange(5, 25)[None]
    save_backbone(llm, tmp_path / "llm")
    save_adapter(llm, tmp_path / "adapter")
    again = load_backbone(tmp_path / "llm")
    assert type(again) is type(llm)
    assert AutoConfig.from_pretrained(tmp_path / "llm").tie_word_embeddings == tied
    plain = again(ids).logits
    with adapter_disabled(llm):
        assert torch.equal(llm(ids).logits, plain)
    extend_vocabulary(again, family.tokens.new_ids)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(again(ids).logits, llm(ids).logits)
    assert len(row_parameters(again)) == (1 if tied else 2)
