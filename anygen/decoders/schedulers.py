"""Schedulers: those a folder may ask for, those a request may ask for, and a fresh one for every run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import BadArgument

if TYPE_CHECKING:
    import torch

SCHEDULERS = (
    "CosineDPMSolverMultistepScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers that a folder may ask for."""

NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""Schedulers that a request may ask for, by name: class, and what differs from the decoder's own settings.

`dpmpp_2m` (Lu et al. 2022) and `unipc` (Zhao et al. 2023) need about 20 steps where DDIM needs 50; `lcm` (Luo
et al. 2023) needs 4 to 8 and a UNet that was distilled for it.
"""

FLOW_NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "dpmpp_2m": NAMED["dpmpp_2m"],
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "unipc": NAMED["unipc"],
}
"""The same for decoders of flow matching."""


def choose(scheduler: Any, name: str | None) -> Any:
    """The scheduler a request asks for, at the noise levels that the decoder was trained with.

    Args:
        scheduler: The decoder's own; not changed.
        name: A name of `NAMED` (of `FLOW_NAMED` for flow matching); None keeps the decoder's own.

    Returns:
        A scheduler.

    Raises:
        BadArgument: The name is unknown, or not for this kind of decoder.
    """
    if name is None:
        return scheduler
    config, own = scheduler.config, type(scheduler).__name__
    flow = own.startswith("FlowMatch") or bool(config.get("use_flow_sigmas"))
    table = {} if own.startswith(("EDM", "Cosine")) else FLOW_NAMED if flow else NAMED
    if name not in table:
        expected = f"one of {', '.join(table)}" if table else f"none beside its own {own}"
        raise BadArgument(
            f"scheduler: found {name!r}, expected {expected}; leave it out for the decoder's own"
        )
    class_name, changes = table[name]
    chosen = scheduler_class(class_name)
    if not flow:
        return chosen.from_config(config, **changes)
    shift = config.get("flow_shift", config.get("shift", 1.0))
    if class_name.startswith("FlowMatch"):
        return chosen(num_train_timesteps=config.num_train_timesteps, shift=shift)
    return chosen(
        num_train_timesteps=config.num_train_timesteps,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
        **changes,
    )


def scheduler_class(name: str) -> Any:
    """A scheduler's class by its name in `scheduler_config.json`.

    Raises:
        BadArgument: It is not in `SCHEDULERS`.
    """
    if name not in SCHEDULERS:
        raise BadArgument(
            f"scheduler: found {name}, expected one of {', '.join(SCHEDULERS)}; change scheduler_config.json"
        )
    return getattr(importlib.import_module("diffusers"), name)


def fresh(scheduler: Any, num_inference_steps: int, device: torch.device | str) -> Any:
    """A new scheduler of the same kind and configuration, set to that many steps.

    Args:
        scheduler: A diffusers scheduler; not changed.
        num_inference_steps: Denoising steps.
        device: Where its timesteps live.

    Returns:
        The new scheduler.

    Raises:
        BadArgument: This kind of scheduler cannot make that many steps.
    """
    run = type(scheduler).from_config(scheduler.config)
    try:
        run.set_timesteps(num_inference_steps, device=device)
    except ValueError:
        raise BadArgument(
            f"num_inference_steps: found {num_inference_steps}, more than {type(scheduler).__name__} can "
            f"make of its {scheduler.config.num_train_timesteps} training timesteps; ask for fewer"
        ) from None
    return run
