"""What of a run goes into a checkpoint and comes back out, whole or sharded over processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from anygen.errors import CheckpointCorrupt


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a possibly sharded one; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A full tensor, sharded as `other` is."""
    if isinstance(other, DTensor) and tensor.shape == other.shape:
        return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
    return tensor


def frozen_sha256(modules: Mapping[str, nn.Module], trainable: Mapping[str, Tensor]) -> str:
    """One hash of every parameter that does not train, names and types included."""
    digest, training = hashlib.sha256(), {id(p) for p in trainable.values()}
    for part, module in modules.items():
        for name, parameter in module.named_parameters():
            if id(parameter) not in training:
                value = parameter.detach().contiguous().cpu()
                digest.update(f"{part}.{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_frozen(modules: Mapping[str, nn.Module], trained: Collection[str], sha256: str) -> None:
    """What should not train has not.

    Args:
        modules: the stage's modules.
        trained: qualified names of what trained.
        sha256: `frozen_sha256` from before.

    Raises:
        CheckpointCorrupt: a frozen parameter changed.
    """
    every = {f"{part}.{n}": p for part, module in modules.items() for n, p in module.named_parameters()}
    if frozen_sha256(modules, {name: every[name] for name in trained}) != sha256:
        raise CheckpointCorrupt(
            "Found frozen weights changed by training; expected them untouched. Start again, and report this."
        )


def optimizer_tensors(optimizer: Any) -> dict[str, Tensor]:
    """The optimizer's state as `optimizer.<parameter number>.<field>`."""
    return {
        f"optimizer.{index}.{field}": whole(value)
        for index, state in optimizer.state_dict()["state"].items()
        for field, value in state.items()
    }


def restore_optimizer(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, field = key.split(".", 2)
            state.setdefault(int(index), {})[field] = like(value, parameters[int(index)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def copy_named(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Copy the tensors with a prefix into parameters of the same names.

    Raises:
        CheckpointCorrupt: the names or shapes differ.
    """
    found = {k.removeprefix(prefix): v.shape for k, v in tensors.items() if k.startswith(prefix)}
    wanted = {name: target.shape for name, target in targets.items()}
    if found != wanted:
        added, missing = found.keys() - wanted.keys(), wanted.keys() - found.keys()
        reshaped = [name for name in found.keys() & wanted.keys() if found[name] != wanted[name]]
        raise CheckpointCorrupt(
            f"Found {len(added)} unexpected, {len(missing)} missing and {len(reshaped)} differently shaped "
            f"tensors under {prefix}* in the checkpoint; expected exactly this stage's trainable parameters."
        )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(like(tensors[prefix + name], target))


def allow_fsdp_on_cpu(accelerator: Accelerator) -> None:
    """Let FSDP2 run over gloo where the environment asks for it.

    accelerate 1.15 reads ACCELERATE_USE_FSDP on accelerators alone and runs DDP on CPUs, although torch's
    `fully_shard` works over gloo; its launcher refuses `--cpu` beside `--use_fsdp`. So set the variable.
    """
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if asked and accelerator.distributed_type == DistributedType.MULTI_CPU:
        plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=False)
        # Every new state copies the one of the processes, so both must know.
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin


@contextlib.contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Hold whole parameters instead of shards inside the block, for evaluating and saving; collective."""
    shards: list[tuple[nn.Module, str, nn.Parameter]] = []
    copies: dict[int, nn.Parameter] = {}
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if isinstance(parameter, DTensor):
                shards.append((owner, name, parameter))
                if id(parameter) not in copies:
                    full = parameter.full_tensor().detach()
                    copies[id(parameter)] = nn.Parameter(full, requires_grad=parameter.requires_grad)
    for owner, name, shard in shards:
        owner._parameters[name] = copies[id(shard)]
    try:
        yield
    finally:
        for owner, name, shard in shards:
            owner._parameters[name] = shard
