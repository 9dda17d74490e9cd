"""The output projection: published keys, sizes and golden outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from anygen.errors import BadArgument
from anygen.projections import OutputProjection

GOLDEN = Path(__file__).parents[1] / "data" / "nextgpt_projector_golden.safetensors"
PUBLISHED = {"image": (4, 77, 768), "video": (24, 77, 1024), "audio": (8, 1, 512)}


def _fill(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    """Fill a tensor by the rule that the golden data were made with."""
    mask = np.uint64(0xFFFFFFFF)
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) * np.uint64(2654435761)
    x = (x + np.uint64(sum(name.encode()) * 40503)) & mask
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(1274126177)) & mask
    x = x ^ (x >> np.uint64(13))
    return torch.from_numpy((scale * (x / 2.0**31 - 1)).astype(np.float32).reshape(shape))


@pytest.mark.parametrize("modality", PUBLISHED)
def test_golden_outputs(modality: str) -> None:
    num_signals, num_queries, cond_dim = PUBLISHED[modality]
    with torch.device("meta"):
        projection = OutputProjection(llm_dim=4096, cond_dim=cond_dim, num_queries=num_queries).eval()
    state = {}
    for name, tensor in projection.state_dict().items():
        shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        state[name] = _fill(name, tuple(tensor.shape), 0.05) + shift
    projection.load_state_dict(state, strict=True, assign=True)
    shape = (2, num_signals, 4096)
    with torch.no_grad():
        output = projection(
            _fill(f"{modality}.hidden_states", shape, 1.0), _fill(f"{modality}.input_embeds", shape, 0.02)
        )
    expected = load_file(GOLDEN)[modality]
    assert output.shape == expected.shape
    assert (output - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.parametrize(
    ("modality", "parameters"), [("image", 31_958_784), ("video", 32_090_112), ("audio", 31_788_544)]
)
def test_published_parameter_counts(modality: str, parameters: int) -> None:
    _, num_queries, cond_dim = PUBLISHED[modality]
    with torch.device("meta"):
        projection = OutputProjection(llm_dim=4096, cond_dim=cond_dim, num_queries=num_queries)
    assert sum(p.numel() for p in projection.parameters()) == parameters
    assert len(projection.state_dict()) == 129


def _tiny(**options: bool) -> OutputProjection:
    return OutputProjection(
        llm_dim=8, cond_dim=6, num_queries=5, inner_dim=8, num_encoder_layers=1, num_decoder_layers=1,
        num_heads=2, ffn_dim=16, **options,
    )  # fmt: skip


def test_queries_start_apart() -> None:
    torch.manual_seed(0)
    output = _tiny()(torch.randn(2, 3, 8), torch.randn(2, 3, 8))
    assert output.shape == (2, 5, 6)
    assert (output[:, 0] - output[:, 1]).abs().max() > 1e-3


def test_normalized_output_has_unit_norm() -> None:
    output = _tiny(normalize=True)(torch.randn(2, 3, 8), torch.randn(2, 3, 8))
    assert torch.allclose(output.norm(dim=-1), torch.ones(2, 5), atol=1e-5)


def test_group_alone_equals_group_in_batch() -> None:
    projection = _tiny().eval()
    states, embeds = torch.randn(4, 3, 8), torch.randn(4, 3, 8)
    assert torch.allclose(projection(states, embeds)[1:2], projection(states[1:2], embeds[1:2]), atol=1e-5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(BadArgument, match=r"expected both \(M, K, 8\)"):
        _tiny()(torch.zeros(2, 3, 8), torch.zeros(2, 4, 8))
