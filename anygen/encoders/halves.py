"""Which half of a tower a weight belongs to, by its name alone: for reports and plans that load nothing."""

from __future__ import annotations


def half_of(tower: str, key: str) -> str | None:
    """Name the half that has a weight.

    Args:
        tower: name of the tower.
        key: name of the weight in a CLIP or CLAP.

    Returns:
        As `EncoderConfig.half_names`; None for what encoding does not need (the learned scales of logits).
    """
    if key.startswith("logit_scale"):
        return None
    return f"{tower}_text" if key.startswith("text_") else tower
