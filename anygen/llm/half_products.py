"""Frozen layers that multiply in bfloat16 while everything between them stays float32.

Where a CPU multiplies bfloat16 in hardware, training an adapter around a frozen language model becomes nearly
twice as fast; moving the whole model to bfloat16 gains nothing there, since what lies between the products
gets slower. The weights keep their names and types: what is saved and what generates is the float32 model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _HalfProduct(torch.autograd.Function):
    """x (..., in) times weight (out, in) transposed, in the weight's type; only x has a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x.to(weight.dtype), weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        (gradient,) = gradients
        return (gradient.to(weight.dtype) @ weight).to(gradient.dtype), None


class HalfProductLinear(nn.Linear):
    """A frozen linear layer without bias whose products are taken in bfloat16."""

    def __init__(self, linear: nn.Linear) -> None:
        """Share the weight of a layer.

        Args:
            linear: a layer without bias; its weight must not change any more.
        """
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.register_parameter("bias", None)
        self.half_weight: Tensor
        self.register_buffer("half_weight", linear.weight.detach().to(torch.bfloat16), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply (..., in) to (..., out), rounded to bfloat16, in the type of the input."""
        product: Tensor = _HalfProduct.apply(input, self.half_weight)
        return product


def halve_products(llm: Any) -> int:
    """Let every linear layer without bias of a frozen language model multiply in bfloat16.

    Args:
        llm: a `transformers` causal language model without an adapter, changed in place; its weights are
            frozen.

    Returns:
        How many layers.
    """
    layers = [(n, m) for n, m in llm.named_modules() if isinstance(m, nn.Linear) and m.bias is None]
    for name, layer in layers:
        layer.weight.requires_grad_(False)
        parent, _, own = name.rpartition(".")
        setattr(llm.get_submodule(parent), own, HalfProductLinear(layer))
    return len(layers)
