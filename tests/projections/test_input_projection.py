"""The input projection: published layout, K tokens an item, clear refusal."""

from __future__ import annotations

import pytest
import torch

from anygen.errors import BadArgument
from anygen.projections import InputProjection


def test_published_layout_has_the_published_parameters() -> None:
    with torch.device("meta"):
        projection = InputProjection(encoder_dim=1024, llm_dim=4096)
    shapes = {name: tuple(p.shape) for name, p in projection.named_parameters()}
    assert shapes == {"linear.weight": (4096, 1024), "linear.bias": (4096,)}
    assert sum(p.numel() for p in projection.parameters()) == 4_198_400


def test_item_becomes_its_own_tokens() -> None:
    projection = InputProjection(encoder_dim=6, llm_dim=8, num_tokens=3)
    vectors = torch.randn(5, 6)
    tokens = projection(vectors)
    assert tokens.shape == (5, 3, 8)
    assert torch.allclose(tokens[2:3], projection(vectors[2:3]), atol=1e-6)


def test_no_items_give_no_tokens() -> None:
    assert InputProjection(encoder_dim=6, llm_dim=8, num_tokens=3)(torch.zeros(0, 6)).shape == (0, 3, 8)


def test_other_width_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"shape \(2, 5\), expected \(N, 6\)"):
        InputProjection(encoder_dim=6, llm_dim=8)(torch.zeros(2, 5))
