"""Writing a decoder as a folder that diffusers' own pipeline of that family can open too."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from .layouts import Layout


def write_folder(folder: Path, layout: Layout, parts: Mapping[str, Any], dtype: torch.dtype | None) -> None:
    """Write the parts and a `model_index.json`.

    Args:
        folder: Made if it is not there.
        layout: The family.
        parts: Parts to write, by name.
        dtype: Floating-point type of the weights on disk; None keeps each as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"_class_name": layout.pipeline, "_diffusers_version": diffusers.__version__}
    for name, (library, _) in layout.classes.items():
        part = parts.get(name)
        home = library.rpartition(".")[
            2
        ]  # diffusers finds what lies beside a pipeline by that pipeline's module
        index[name] = [None, None] if part is None else [home, type(part).__name__]
        if isinstance(part, torch.nn.Module) and dtype is not None:
            halved: Any = copy.deepcopy(part).to(None, dtype)
            halved.save_pretrained(str(folder / name))
        elif part is not None:
            part.save_pretrained(str(folder / name))
    (folder / "model_index.json").write_text(json.dumps(index | dict(layout.index), indent=2) + "\n")
