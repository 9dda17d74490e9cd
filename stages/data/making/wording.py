"""Requests in our own words, for a caption and for every detail, as LLaVA draws one for each answer."""

from __future__ import annotations

from anygen.modality import Modality

NAMES: dict[Modality, str] = {Modality.IMAGE: "picture", Modality.AUDIO: "sound", Modality.VIDEO: "film"}
"""What a medium is called."""

BRIEF: tuple[str, ...] = (
    "Describe this {} in a sentence.",
    "Give me a short caption for this {}.",
    "Say briefly what this {} shows.",
    "What is this {} about, in a few words?",
    "Sum this {} up in one line.",
    "Write a compact caption for the {}.",
    "Put the {} into a short sentence.",
    "Tell me the main thing in this {}.",
    "How would you caption this {}?",
    "One clear sentence about this {}, please.",
    "Name what is in this {}, briefly.",
)
"""Requests for a caption; {} is what the medium is called."""

DETAILED: tuple[str, ...] = (
    "Describe this {} with everything that is in it.",
    "Take me through this {} in detail.",
    "What can be told about this {}? Leave nothing out.",
    "Give a full account of this {}.",
    "Write a thorough description of the {}.",
    "Explain the {} to someone who has only your words.",
    "Tell me all that you notice in this {}.",
    "I want to know this {} in detail: what does it have?",
    "Describe the {} part by part.",
    "Please study this {} and describe it at length.",
    "Go into detail about this {}.",
    "Give me a rich description of this {}.",
)
"""Requests for a detailed description."""
