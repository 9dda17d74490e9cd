"""Projected media land in their own slots, or nothing happens."""

from __future__ import annotations

import pytest
import torch

from anygen.errors import BadArgument
from anygen.llm import fuse


def test_media_land_in_order_and_the_rest_is_untouched() -> None:
    embeds = torch.randn(2, 6, 4)
    media = torch.randn(3, 2, 4)
    mask = torch.tensor([[0, 1, 1, 0, 0, 0], [1, 1, 0, 0, 1, 1]], dtype=torch.bool)
    fused = fuse(embeds, media, mask)
    assert torch.equal(fused[0, 1:3], media[0])
    assert torch.equal(fused[1, :2], media[1])
    assert torch.equal(fused[1, 4:], media[2])
    assert torch.equal(fused[~mask], embeds[~mask])


def test_gradients_reach_the_projection() -> None:
    media = torch.randn(1, 2, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    fuse(torch.zeros(1, 3, 4), media, mask).sum().backward()
    assert torch.equal(media.grad, torch.ones_like(media))


def test_no_media_leave_the_prompt_as_it_is() -> None:
    embeds = torch.randn(1, 3, 4)
    assert fuse(embeds, torch.zeros(0, 2, 4), torch.zeros(1, 3, dtype=torch.bool)) is embeds


@pytest.mark.parametrize("items", [0, 2])
def test_counts_must_match(items: int) -> None:
    mask = torch.tensor([[True, True, False]])
    with pytest.raises(BadArgument, match=rf"found {items} media of 2 tokens for 2 slot positions"):
        fuse(torch.zeros(1, 3, 4), torch.zeros(items, 2, 4), mask)
