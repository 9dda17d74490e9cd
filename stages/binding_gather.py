"""Negatives from every process: all_gather that gradients pass through.

With gathered vectors every process computes the loss of the whole batch. The gradient that reaches a vector
is summed over processes here and averaged over them by DDP on its way into the weights, so it is that of one
process with the whole batch. (A gather without gradients would leave 1 / processes of it.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        ctx.count = len(vectors)
        return _concatenated(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.count
        return total[start : start + ctx.count]


def _concatenated(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def num_processes() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(tensor: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks.

    Args:
        tensor: (n, ...), of one shape everywhere; its gradient is the sum over processes.

    Returns:
        (n * processes, ...); the tensor itself with one process.
    """
    if num_processes() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor) if tensor.requires_grad else _concatenated(tensor)
    return gathered
