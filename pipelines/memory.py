"""Puts a memory plan into practice on the parts of a pipeline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from anygen.checkpoints.folder import load_language_model
from anygen.checkpoints.lazy import Decoders
from anygen.config import AnyGenConfig
from anygen.model import AnyGenModel

from .answering import Use, keep
from .planning import MemoryPlan
from .residency import BudgetedEncoder, Residency


def manage(
    plan: MemoryPlan | None, folder: Path | None, model: AnyGenModel, config: AnyGenConfig, decoders: Decoders
) -> Use:
    """Let parts come and go as a plan says.

    Args:
        plan: what fits; None keeps everything.
        folder: where parts are read from.
        model: loaded; its encoder is changed for one that keeps to the plan.
        config: the model's.
        decoders: the model's.

    Returns:
        What to enter around every computation, with the part's name.
    """
    if plan is None or folder is None:
        return keep
    if plan.slicing:
        decoders.slicing = True
    dtype: torch.dtype = getattr(torch, plan.dtype)
    device = model.device
    options = options_for_llm(plan, device)

    def load_llm() -> None:
        llm = load_language_model(folder, config, model.tokens, dtype, **options)
        model.llm = llm if options else llm.to(device)

    def evict_llm() -> None:
        model.llm = None

    evict: dict[str, Any] = {"llm": evict_llm}
    for name in plan.costs:
        kind, _, what = name.partition("/")
        if kind == "encoder" and model.encoder is not None:
            evict[name] = partial(model.encoder.release, what)
    evict |= {f"decoders/{m.value}": partial(decoders.release, m) for m in config.decoders}
    ledger = plan.ledger()
    ledger.admit("llm")
    residency = Residency(ledger, load={"llm": load_llm}, evict=evict)
    if model.encoder is not None:
        model.encoder = BudgetedEncoder(model.encoder, residency)
    return residency.use


def options_for_llm(plan: MemoryPlan | None, device: torch.device) -> dict[str, Any]:
    """What transformers needs to quantize the language model while it loads it; nothing otherwise.

    Args:
        plan: with `quantization`.
        device: where the model goes.

    Returns:
        Keyword arguments of `from_pretrained`.
    """
    if plan is None or plan.quantization is None:
        return {}
    from transformers import BitsAndBytesConfig

    chosen: Any = (
        {"load_in_8bit": True}
        if plan.quantization == "8bit"
        else {
            "load_in_4bit": True,
            "bnb_4bit_compute_dtype": getattr(torch, plan.dtype),
        }
    )
    return {"quantization_config": BitsAndBytesConfig(**chosen), "device_map": {"": device}}
