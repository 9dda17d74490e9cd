"""Writing a decoder as a folder that diffusers' own pipeline of that modality can open too."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch


def write_folder(
    folder: Path,
    pipeline: str,
    classes: Mapping[str, tuple[str, str]],
    parts: Mapping[str, Any],
    dtype: torch.dtype | None,
) -> None:
    """Write the parts and a `model_index.json`.

    Args:
        folder: Made if it is not there.
        pipeline: Name of the diffusers pipeline.
        classes: Library and class of every part the layout has.
        parts: Parts to write, by name.
        dtype: Floating-point type of the weights on disk; None keeps each as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    for name, (library, _) in classes.items():
        part = parts.get(name)
        index[name] = [None, None] if part is None else [library, type(part).__name__]
        if isinstance(part, torch.nn.Module) and dtype is not None:
            halved: Any = copy.deepcopy(part).to(dtype)
            halved.save_pretrained(str(folder / name))
        elif part is not None:
            part.save_pretrained(str(folder / name))
    if pipeline == "StableDiffusionPipeline":
        index |= {
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
        }
        index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
