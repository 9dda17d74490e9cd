"""The base stays what it was published as; new rows are apart from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig

from anygen.errors import BadArgument
from anygen.llm import (
    base_state_dict,
    build_backbone,
    extend_vocabulary,
    load_backbone,
    row_parameters,
    save_backbone,
    set_rows_enabled,
)

VOCAB, NEW = 40, range(40, 46)


def make_llm(*, tied: bool = False, vocab_size: int = VOCAB) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied,
    )  # fmt: skip
    return build_backbone(config).eval()


@pytest.mark.parametrize("tied", [False, True])
def test_old_logits_are_bitwise_the_bases(tied: bool) -> None:
    llm = make_llm(tied=tied)
    ids = torch.randint(0, VOCAB, (2, 9))
    before = llm(ids).logits
    extend_vocabulary(llm, NEW)
    after = llm(ids).logits
    assert after.shape[-1] == 46
    assert torch.equal(after[..., :VOCAB], before)
    set_rows_enabled(llm, False)
    assert torch.equal(llm(ids).logits, before)


@pytest.mark.parametrize("tied", [False, True])
def test_new_rows_alone_train(tied: bool) -> None:
    llm = make_llm(tied=tied)
    llm.requires_grad_(False)
    extend_vocabulary(llm, NEW)
    names = {name for name, p in llm.named_parameters() if p.requires_grad}
    assert names == ({"model.embed_tokens.rows"} if tied else {"model.embed_tokens.rows", "lm_head.rows"})
    assert set(row_parameters(llm)) == ({"embed_tokens"} if tied else {"embed_tokens", "lm_head"})
    base = {name: tensor.clone() for name, tensor in base_state_dict(llm).items()}
    llm(torch.tensor([[3, 41, 42]])).logits.square().sum().backward()
    with torch.no_grad():
        for rows in row_parameters(llm).values():
            assert rows.grad is not None and rows.grad.abs().sum() > 0
            rows -= 0.1 * rows.grad
    assert all(torch.equal(base[name], tensor) for name, tensor in base_state_dict(llm).items())


@pytest.mark.parametrize("tied", [False, True])
def test_new_ids_read_and_score_their_rows(tied: bool) -> None:
    llm = make_llm(tied=tied)
    extend_vocabulary(llm, NEW)
    rows = row_parameters(llm)
    embedded = llm.get_input_embeddings()(torch.tensor([[5, 40, 45]]))
    assert torch.equal(embedded[0, 1], rows["embed_tokens"][0])
    assert torch.equal(embedded[0, 2], rows["embed_tokens"][5])
    hidden = torch.randn(1, 8)
    head_rows = rows.get("lm_head", rows["embed_tokens"])
    assert torch.allclose(llm.get_output_embeddings()(hidden)[0, 40:], (head_rows @ hidden[0]), atol=1e-6)


def test_spare_rows_of_the_base_are_overridden_in_place() -> None:
    llm = make_llm(vocab_size=48)  # some published vocabularies are padded
    ids = torch.randint(0, VOCAB, (1, 5))
    before = llm(ids).logits
    extend_vocabulary(llm, NEW)
    after = llm(ids).logits
    assert after.shape == before.shape
    assert torch.equal(after[..., :40], before[..., :40]) and torch.equal(after[..., 46:], before[..., 46:])
    assert not torch.allclose(after[..., 40:46], before[..., 40:46])


@pytest.mark.parametrize("tied", [False, True])
def test_saved_base_has_the_published_names_and_gives_the_same(tied: bool, tmp_path: Path) -> None:
    llm = make_llm(tied=tied)
    names = set(llm.state_dict()) - ({"lm_head.weight"} if tied else set())
    ids = torch.randint(0, VOCAB, (2, 9))
    before = llm(ids).logits
    extend_vocabulary(llm, NEW)
    save_backbone(llm, tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == names
    assert torch.equal(load_backbone(tmp_path)(ids).logits, before)


def test_initial_rows_are_typical_seeded_and_distinct() -> None:
    llms = [make_llm(), make_llm()]
    for llm in llms:
        extend_vocabulary(llm, NEW, generator=torch.Generator().manual_seed(3))
    rows = [row_parameters(llm)["embed_tokens"] for llm in llms]
    assert torch.equal(rows[0], rows[1])
    spread = llms[0].get_input_embeddings().weight.std()
    assert 0.3 * spread < rows[0].std() < 3 * spread
    assert not torch.allclose(rows[0][0], rows[0][1])


def test_the_callers_configuration_is_not_changed() -> None:
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    llm = build_backbone(config)
    extend_vocabulary(llm, NEW)
    assert llm.config is not config
    assert config.vocab_size == llm.config.vocab_size == VOCAB


def test_refusals() -> None:
    llm = make_llm()
    with pytest.raises(BadArgument, match="has no new rows, expected them"):
        row_parameters(llm)
    with pytest.raises(BadArgument, match="new ids from 41 to 42 for a vocabulary of 40"):
        extend_vocabulary(llm, [41, 42])
    extend_vocabulary(llm, NEW)
    with pytest.raises(BadArgument, match="already has new rows"):
        extend_vocabulary(llm, NEW)
