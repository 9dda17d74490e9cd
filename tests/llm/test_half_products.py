"""Frozen layers in bfloat16: near the float32 model, gradients as well, and nothing of it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from anygen.llm import (
    HalfProductLinear,
    add_lora,
    build_backbone,
    extend_vocabulary,
    halve_products,
    lora_parameters,
    row_parameters,
    save_backbone,
)


def make(*, halved: bool, tied: bool = True) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=tied,
    )  # fmt: skip
    llm: nn.Module = build_backbone(config).eval()
    if halved:
        assert halve_products(llm) == 2 * 7 + 1
    extend_vocabulary(llm, range(40, 44), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    add_lora(llm, rank=2, dropout=0.0, target_modules=("q_proj", "v_proj"))
    for name, parameter in lora_parameters(llm).items():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return llm


@pytest.mark.parametrize("tied", [True, False])
def test_values_and_gradients_are_near_those_in_float32(tied: bool) -> None:
    found = {}
    for halved in (False, True):
        llm = make(halved=halved, tied=tied)
        parameters = {**lora_parameters(llm), **row_parameters(llm)}
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        logits = llm(torch.arange(30, 44)[None]).logits
        logits.square().mean().backward()
        found[halved] = logits.detach(), {n: p.grad for n, p in parameters.items()}
    (plain, slopes), (half, half_slopes) = found[False], found[True]
    assert half.dtype == torch.float32 and not torch.equal(half, plain)
    assert (half - plain).norm() < 0.02 * plain.norm()
    assert slopes.keys() == half_slopes.keys() and len(slopes) == 2 * 4 + (1 if tied else 2)
    for name, slope in slopes.items():
        assert slope is not None and slope.norm() > 0
        assert (half_slopes[name] - slope).norm() < 0.1 * slope.norm(), name


def test_the_weights_are_saved_as_they_were(tmp_path: Path) -> None:
    plain, half = make(halved=False), make(halved=True)
    state = half.state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items())
    assert not any(m.weight.requires_grad for m in half.modules() if isinstance(m, HalfProductLinear))
    for name, llm in (("plain", plain), ("half", half)):
        save_backbone(llm, tmp_path / name)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "half")]
    assert files[0] == files[1]
