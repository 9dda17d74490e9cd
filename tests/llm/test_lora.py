"""The adapter: inert when fresh, exact through its folder, off without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from anygen.llm import (
    adapter_disabled,
    add_lora,
    build_backbone,
    extend_vocabulary,
    has_lora,
    load_adapter,
    load_backbone,
    lora_parameters,
    merge_lora,
    row_parameters,
    save_adapter,
    save_backbone,
    unmerge_lora,
)

IDS = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(1))


def make_llm(*, tied: bool = False) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied,
    )  # fmt: skip
    llm = build_backbone(config).eval()
    extend_vocabulary(llm, range(40, 46))
    return llm


def train_a_little(llm: Any) -> None:
    with torch.no_grad():
        for parameter in [*lora_parameters(llm).values(), *row_parameters(llm).values()]:
            parameter += 0.1 * torch.randn_like(parameter)


def test_fresh_adapter_changes_nothing_and_alone_trains() -> None:
    llm = make_llm()
    before = llm(IDS).logits
    add_lora(llm, rank=2)
    assert torch.equal(llm(IDS).logits, before)
    trainable = {name for name, p in llm.named_parameters() if p.requires_grad}
    assert trainable == {
        f"model.layers.{layer}.self_attn.{module}_proj.lora_{side}.default.weight"
        for layer in range(2) for module in "qkvo" for side in "AB"
    }  # fmt: skip
    assert trainable == set(lora_parameters(llm))


@pytest.mark.parametrize("tied", [False, True])
def test_switched_off_the_base_answers_bitwise(tied: bool) -> None:
    llm = make_llm(tied=tied)
    before = llm(IDS).logits
    add_lora(llm, rank=2)
    train_a_little(llm)
    llm.requires_grad_(False)
    assert not torch.allclose(llm(IDS).logits[..., :40], before[..., :40])
    with adapter_disabled(llm):
        assert torch.equal(llm(IDS).logits, before[..., :40])
    assert llm(IDS).logits.shape[-1] == 46
    assert not any(p.requires_grad for p in llm.parameters())


@pytest.mark.parametrize("tied", [False, True])
def test_folder_holds_the_changes_alone_and_loads_exactly(tied: bool, tmp_path: Path) -> None:
    llm = make_llm(tied=tied)
    add_lora(llm, rank=2, alpha=4)
    train_a_little(llm)
    save_adapter(llm, tmp_path / "adapter")
    save_backbone(llm, tmp_path / "llm")
    sizes = [t.numel() for f in (tmp_path / "adapter").glob("*.safetensors") for t in load_file(f).values()]
    assert sum(sizes) == 16 * 2 * 8 + (1 if tied else 2) * 6 * 8
    again = load_backbone(tmp_path / "llm")
    extend_vocabulary(again, range(40, 46))
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(again(IDS).logits, llm(IDS).logits)
    assert not any(p.requires_grad for p in again.parameters())
    theirs = PeftModel.from_pretrained(load_backbone(tmp_path / "llm"), tmp_path / "adapter")
    assert torch.allclose(theirs(IDS).logits, llm(IDS).logits[..., :40], atol=1e-6)
    assert (
        "adapter"
        not in (tmp_path / "adapter" / "adapter_config.json").read_text().split("base_model")[1][:40]
    )


def test_rows_without_adapter(tmp_path: Path) -> None:
    llm, again = make_llm(), make_llm()
    train_a_little(llm)
    save_adapter(llm, tmp_path)
    load_adapter(again, tmp_path)
    assert not has_lora(again)
    ids = torch.tensor([[1, 41, 45]])
    assert torch.equal(again(ids).logits, llm(ids).logits)


def test_merging_gives_the_same_answers() -> None:
    llm = make_llm()
    add_lora(llm, rank=2)
    train_a_little(llm)
    before = llm(IDS).logits
    merge_lora(llm)
    assert torch.allclose(llm(IDS).logits, before, atol=1e-5)
    unmerge_lora(llm)
    assert torch.allclose(llm(IDS).logits, before, atol=1e-5)


def test_refusals(tmp_path: Path) -> None:
    llm = make_llm()
    with pytest.raises(MissingPart, match="the adapter has no signal_rows.safetensors"):
        load_adapter(llm, tmp_path)
    save_file({"embed_tokens": torch.zeros(6, 8)}, tmp_path / "signal_rows.safetensors")
    with pytest.raises(WeightsMismatch, match=r"found lm_head missing, expected \(6, 8\)"):
        load_adapter(llm, tmp_path)
    rows = {"embed_tokens": torch.zeros(5, 8), "lm_head": torch.zeros(6, 8)}
    save_file(rows, tmp_path / "signal_rows.safetensors")
    with pytest.raises(WeightsMismatch, match=r"found embed_tokens \(5, 8\), expected \(6, 8\)"):
        load_adapter(llm, tmp_path)
    (tmp_path / "signal_rows.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(CheckpointCorrupt, match="signal_rows.safetensors cannot be read"):
        load_adapter(llm, tmp_path)
    add_lora(llm, rank=2)
    with pytest.raises(BadArgument, match="has an adapter already"):
        add_lora(llm, rank=2)
