"""From the patch tokens of a media item to few concept tokens, by learned grouping.

The grouping of GroupViT (arXiv 2202.11094, section 3) as the input projection of NExT-GPT (arXiv 2309.05519,
section 3): learned group tokens travel through transformer layers with the patches, then every patch is
assigned to one group and the groups take the patches' place. Written from the papers; names and shapes are
those of NExT-GPT's later checkpoints.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygen.errors import BadArgument

NUM_GROUPS = (64, 8)
"""Group tokens of the first and the second stage; a third stage only refines the last."""
DEPTHS = (6, 3, 3)
"""Transformer layers of the three stages."""


class _Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., out)."""
        return self.fc2(functional.gelu(self.fc1(x)))


class _TokenMlp(_Mlp):
    """The same over the tokens of a sequence instead of its channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, tokens, D) to (B, out, D)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _SelfAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within (B, L, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        for name in ("q_proj", "k_proj", "v_proj", "proj"):
            self.add_module(name, nn.Linear(width, width))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Let (B, G, D) attend to (B, L, D)."""
        parts = [
            self.get_submodule(name)(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for name, x in (("q_proj", query), ("k_proj", key), ("v_proj", key))
        ]
        mixed = functional.scaled_dot_product_attention(*parts)
        output: Tensor = self.get_submodule("proj")(mixed.transpose(1, 2).flatten(2))
        return output


class _Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _CrossBlock(nn.Module):
    """A transformer layer in which groups look at patches; its second norm stands behind."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = _CrossAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, 4 * width)
        self.norm_post = nn.LayerNorm(width)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Let (B, G, D) look at (B, L, D)."""
        x = query + self.attn(query, key)
        x = x + self.mlp(self.norm2(x))
        return self.norm_post(x)


class _Assign(nn.Module):
    """Every patch goes to one group, whose new value is the mean of its patches (equations 3 to 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "proj"):
            self.add_module(name, nn.Linear(width, width))

    def forward(self, groups: Tensor, patches: Tensor) -> Tensor:
        """Give (B, G, D) from groups (B, G, D) and patches (B, L, D)."""
        q, k = self.get_submodule("q_proj")(groups), self.get_submodule("k_proj")(patches)
        scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        if self.training:
            weights = functional.gumbel_softmax(scores, dim=1, hard=True)
        else:
            weights = functional.one_hot(scores.argmax(1), scores.shape[1]).transpose(1, 2).to(scores)
        # one more than the sum: a group without patches stays as it was
        weights = weights / (weights.sum(-1, keepdim=True) + 1.0)
        output: Tensor = self.get_submodule("proj")(weights @ self.get_submodule("v_proj")(patches))
        return output


class _Grouping(nn.Module):
    """Patches (B, L, D) and group tokens become groups (B, G, D)."""

    def __init__(self, width: int, num_heads: int, num_groups: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.mlp_inter = _TokenMlp(num_groups, width // 2)
        self.norm_post_tokens = nn.LayerNorm(width)
        self.norm_x = nn.LayerNorm(width)
        self.pre_assign_attn = _CrossBlock(width, num_heads)
        self.assign = _Assign(width)
        self.norm_new_x = nn.LayerNorm(width)
        self.mlp_channels = _Mlp(width, 4 * width)

    def forward(self, x: Tensor, group_tokens: Tensor) -> Tensor:
        """Group the patches."""
        groups = self.norm_post_tokens(self.mlp_inter(self.norm_tokens(group_tokens)))
        x = self.norm_x(x)
        groups = self.pre_assign_attn(groups, x)
        new = groups + self.assign(groups, x)
        return new + self.mlp_channels(self.norm_new_x(new))


class _Stage(nn.Module):
    """Layers over patches and group tokens, then the grouping, where the stage has groups."""

    def __init__(self, width: int, num_heads: int, depth: int, num_groups: int, num_before: int) -> None:
        super().__init__()
        self.num_groups = num_groups
        if num_groups:
            self.group_token = nn.Parameter(torch.randn(1, num_groups, width) * 0.02)
            self.downsample = _Grouping(width, num_heads, num_groups)
        if num_groups and num_before:
            self.group_projector = nn.Sequential(
                nn.LayerNorm(width), _TokenMlp(num_before, width // 2, num_groups)
            )
        self.blocks = nn.ModuleList(_Block(width, num_heads) for _ in range(depth))

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map tokens (B, L, D) and the group tokens of the stage before to the next of each."""
        if not self.num_groups:
            for block in self.blocks:
                x = block(x)
            return x, None
        tokens = self.group_token.expand(x.shape[0], -1, -1)
        if before is not None:
            tokens = tokens + self.group_projector(before)
        length = x.shape[1]
        for block in self.blocks:
            x, tokens = block(torch.cat([x, tokens], dim=1)).split([length, self.num_groups], dim=1)
        return self.downsample(x, tokens), tokens


class GroupingProjection(nn.Module):
    """Patch tokens of one item to `num_tokens` language-model tokens, one projection for all modalities.

    At the published sizes (1024 to 512 to 4096, 8 heads) it has 53,144,912 parameters; the paper's table says
    28 M.
    """

    takes_tokens: ClassVar[bool] = True
    """It reads the encoder's patch tokens, not its pooled vectors."""

    def __init__(
        self,
        *,
        encoder_dim: int,
        llm_dim: int,
        num_tokens: int = NUM_GROUPS[1],
        inner_dim: int = 512,
        num_heads: int = 8,
    ) -> None:
        """Make the layers.

        Args:
            encoder_dim: width of the encoder's patch tokens in its shared space.
            llm_dim: width of the language model's embeddings.
            num_tokens: tokens that one media item becomes.
            inner_dim: width inside.
            num_heads: attention heads.
        """
        super().__init__()
        self.encoder_dim, self.llm_dim, self.num_tokens = encoder_dim, llm_dim, num_tokens
        groups = (NUM_GROUPS[0], num_tokens, 0)
        self.in_fc = nn.Linear(encoder_dim, inner_dim)
        self.layers = nn.ModuleList(
            _Stage(inner_dim, num_heads, depth, count, before)
            for depth, count, before in zip(DEPTHS, groups, (0, *groups[:2]), strict=True)
        )
        self.norm = nn.LayerNorm(inner_dim)
        self.out_fc = nn.Linear(inner_dim, llm_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project the patch tokens of media items.

        Args:
            tokens: (N, L, encoder_dim); any L.

        Returns:
            (N, num_tokens, llm_dim).

        Raises:
            BadArgument: for another shape.
        """
        if tokens.dim() != 3 or tokens.shape[2] != self.encoder_dim:
            raise BadArgument(
                f"found patch tokens of shape {tuple(tokens.shape)}, expected (N, L, {self.encoder_dim}); "
                "give the encoder's patch tokens, not its pooled vectors"
            )
        x, before = self.in_fc(tokens.to(self.in_fc.weight.dtype)), None
        for stage in self.layers:
            x, before = stage(x, before)
        projected: Tensor = self.out_fc(self.norm(x))
        return projected
