"""From one encoder vector to the language-model tokens that stand for the media item."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from anygen.errors import BadArgument


class InputProjection(nn.Module):
    """One linear layer shared by all modalities (NExT-GPT, arXiv 2309.05519, section 3; `llama_proj`).

    With `num_tokens=1` the layout is the published one: `linear.weight` (llm_dim, encoder_dim) and
    `linear.bias` (llm_dim,), 4,198,400 parameters at 1024 to 4096.
    """

    takes_tokens: ClassVar[bool] = False
    """It reads one pooled vector an item."""

    def __init__(self, *, encoder_dim: int, llm_dim: int, num_tokens: int = 1) -> None:
        """Make the layer.

        Args:
            encoder_dim: width of the encoder's unit-norm vector.
            llm_dim: width of the language model's embeddings.
            num_tokens: tokens that one media item becomes.
        """
        super().__init__()
        self.encoder_dim = encoder_dim
        self.llm_dim = llm_dim
        self.num_tokens = num_tokens
        self.linear = nn.Linear(encoder_dim, num_tokens * llm_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """Project media vectors.

        Args:
            vectors: (N, encoder_dim), unit norm.

        Returns:
            (N, num_tokens, llm_dim).

        Raises:
            BadArgument: for another shape.
        """
        if vectors.dim() != 2 or vectors.shape[1] != self.encoder_dim:
            raise BadArgument(
                f"found media vectors of shape {tuple(vectors.shape)}, expected (N, {self.encoder_dim}); "
                "encode with the model's own encoder"
            )
        projected: Tensor = self.linear(vectors.to(self.linear.weight.dtype))
        return projected.view(-1, self.num_tokens, self.llm_dim)
