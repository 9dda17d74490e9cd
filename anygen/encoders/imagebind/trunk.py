"""The transformer of every ImageBind tower: pre-norm blocks with an optional extra key and value.

Parameter names and shapes are those of the published checkpoint. Attention is written over
`scaled_dot_product_attention` in (B, L, D) layout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK_EPS = 1e-6
"""Epsilon of every norm in the trunks and heads; the stems use 1e-5."""


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): drop a residual branch per sample while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero whole samples of x (B, ...) with probability `rate`, scaling the others by 1 / (1 - rate)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep


class Attention(nn.Module):
    """Multi-head self-attention with the parameter names of `nn.MultiheadAttention`.

    Args:
        width: Width of the tokens.
        num_heads: Number of heads.
        bias_kv: Append one learned key and value to every sequence.
    """

    def __init__(self, *, width: int, num_heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.bias_k = nn.Parameter(torch.empty(1, 1, width)) if bias_kv else None
        self.bias_v = nn.Parameter(torch.empty(1, 1, width)) if bias_kv else None
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                nn.init.xavier_normal_(extra)

    def forward(self, x: Tensor, *, causal: bool = False, num_queries: int | None = None) -> Tensor:
        """Attend over x (B, L, D); `causal` lets a token see only itself and earlier ones.

        Returns:
            (B, L, D), or (B, num_queries, D): what the first tokens alone see.
        """
        batch, _, width = x.shape
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if num_queries is None:
            q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            q = F.linear(x[:, :num_queries], weight[:width], bias[:width])
            k, v = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(batch, 1, width)], dim=1)
            v = torch.cat([v, self.bias_v.expand(batch, 1, width)], dim=1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between, inner width 4 times the outer."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., D) to (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, *, width: int, num_heads: int, bias_kv: bool, drop_path: float) -> None:
        super().__init__()
        self.attn = Attention(width=width, num_heads=num_heads, bias_kv=bias_kv)
        self.drop_path = DropPath(drop_path)
        self.norm_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = Mlp(width=width)
        self.norm_2 = nn.LayerNorm(width, eps=BLOCK_EPS)

    def forward(self, x: Tensor, *, causal: bool = False, num_queries: int | None = None) -> Tensor:
        """Map x (B, L, D) to (B, L, D), or to its first `num_queries` tokens."""
        seen = self.attn(self.norm_1(x), causal=causal, num_queries=num_queries)
        x = x[:, :num_queries] + self.drop_path(seen)
        return x + self.drop_path(self.mlp(self.norm_2(x)))


class Trunk(nn.Module):
    """A stack of blocks.

    Args:
        width: Width of the tokens.
        num_blocks: Number of blocks.
        num_heads: Heads per block.
        drop_path: Stochastic depth of the last block, growing linearly from 0.
        bias_kv: Extra learned key and value in every block (all towers but vision and text).
        pre_norm: A layer norm before the first block (vision alone).
        causal: Causal attention (text alone).
    """

    def __init__(
        self,
        *,
        width: int,
        num_blocks: int,
        num_heads: int,
        drop_path: float = 0.0,
        bias_kv: bool = False,
        pre_norm: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.pre_transformer_layer = nn.Sequential(
            *([nn.LayerNorm(width, eps=BLOCK_EPS)] if pre_norm else [])
        )
        rates = [drop_path * i / max(num_blocks - 1, 1) for i in range(num_blocks)]
        self.blocks = nn.ModuleList(
            Block(width=width, num_heads=num_heads, bias_kv=bias_kv, drop_path=rate) for rate in rates
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, *, num_queries: int | None = None) -> Tensor:
        """Map tokens (B, L, D) to (B, L, D).

        With `num_queries`, only so many tokens of the last block are computed, the first ones: a head that
        reads the class token needs no others.
        """
        x = self.pre_transformer_layer(x)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            x = block(x, causal=self.causal, num_queries=num_queries if index == last else None)
        return x
