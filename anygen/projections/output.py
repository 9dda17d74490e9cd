"""From the hidden states at a group of signal tokens to the conditioning of a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygen.errors import BadArgument


class OutputProjection(nn.Module):
    """A small transformer with learned queries, in the published layout of NExT-GPT's projections.

    `fc` (llm_dim to inner_dim), `tfm` (an encoder over the signal states and a decoder over `query_embs`,
    both pre-norm, without masks or positions), `model` (inner_dim to cond_dim). It is the mapper of GILL
    (arXiv 2305.17216, section 3.2). The input is the sum of the last hidden state and the input embedding of
    each signal token. Published sizes: 31,958,784 parameters for images (77 x 768), 32,090,112 for videos
    (77 x 1024) and 31,788,544 for audio (1 x 512).
    """

    def __init__(
        self,
        *,
        llm_dim: int,
        cond_dim: int,
        num_queries: int,
        inner_dim: int = 512,
        num_encoder_layers: int = 4,
        num_decoder_layers: int = 4,
        num_heads: int = 4,
        ffn_dim: int = 2048,
        dropout: float = 0.0,
        normalize: bool = False,
    ) -> None:
        """Make the layers; the queries start random, since equal queries would give equal outputs.

        Args:
            llm_dim: width of the language model.
            cond_dim: width of the conditioning.
            num_queries: conditioning tokens.
            inner_dim: width inside.
            num_encoder_layers: layers over the signal states.
            num_decoder_layers: layers over the queries.
            num_heads: attention heads.
            ffn_dim: width of the feed-forward layers.
            dropout: share of activations dropped in training; the paper says 0.1, the published code 0.
            normalize: give every conditioning token unit L2 norm, as the CLAP embeddings of AudioLDM have.
        """
        super().__init__()
        self.llm_dim = llm_dim
        self.cond_dim = cond_dim
        self.num_queries = num_queries
        self.normalize = normalize
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                inner_dim, num_heads, ffn_dim, dropout, batch_first=True, norm_first=True
            ),
            num_encoder_layers,
            nn.LayerNorm(inner_dim),
            enable_nested_tensor=False,
        )
        self.fc = nn.Linear(llm_dim, inner_dim)
        self.tfm = nn.Transformer(
            inner_dim,
            num_heads,
            num_decoder_layers=num_decoder_layers,
            dim_feedforward=ffn_dim,
            dropout=dropout,
            custom_encoder=encoder,
            batch_first=True,
            norm_first=True,
        )
        self.model = nn.Linear(inner_dim, cond_dim)
        self.query_embs = nn.Parameter(torch.randn(1, num_queries, inner_dim))

    def forward(self, signal_states: Tensor, signal_embeds: Tensor) -> Tensor:
        """Map groups of signal tokens to conditioning.

        Args:
            signal_states: (M, K, llm_dim), last hidden states (after the final norm) at the signal tokens.
            signal_embeds: (M, K, llm_dim), input embeddings of the same tokens.

        Returns:
            (M, num_queries, cond_dim).

        Raises:
            BadArgument: when the two shapes differ or the width is another.
        """
        if signal_states.shape != signal_embeds.shape or signal_states.shape[-1:] != (self.llm_dim,):
            raise BadArgument(
                f"found signal states {tuple(signal_states.shape)} and embeddings "
                f"{tuple(signal_embeds.shape)}, expected both (M, K, {self.llm_dim})"
            )
        inputs = self.fc((signal_states + signal_embeds).to(self.fc.weight.dtype))
        queries = self.query_embs.expand(inputs.shape[0], -1, -1)
        output: Tensor = self.model(self.tfm(inputs, queries))
        return functional.normalize(output, dim=-1) if self.normalize else output
