"""What follows from a toybox scene without standing in its caption: definite questions, and answers."""

from __future__ import annotations

from anygen.modality import Modality
from anygen.toybox.visual import BACKGROUND_RGB, COLOR_RGB

from .subjects import Subject

_CORNERS = {
    "circle": "It is a circle, and a circle is round: it has no corners.",
    "square": "It is a square, and a square has four corners.",
    "triangle": "It is a triangle, and a triangle has three corners.",
    "ring": "It is a ring, and a ring is round: it has no corners.",
    "cross": "It is a cross, and the outline of a cross has twelve corners.",
}
_EDGES = {
    "left": "It is moving left, so it comes nearer to the left edge.",
    "right": "It is moving right, so it comes nearer to the right edge.",
    "up": "It is moving up, so it comes nearer to the top edge.",
    "down": "It is moving down, so it comes nearer to the bottom edge.",
    "still": "It stands still, so it comes nearer to no edge.",
}
LEAST_DIFFERENCE = 30.0
"""Brightness, 0 to 255, by which a color must differ from a background to be called brighter or darker."""
OFF_CENTER = 0.06
"""Fraction of the side by which a middle must be away from the picture's to count as being in one half."""


def conclusions(subject: Subject, modality: Modality) -> list[tuple[str, str]]:
    """(question, answer) pairs that the attributes and the box of a medium decide.

    Args:
        subject: What it is about.
        modality: Which of its media is looked at.
    """
    shown = subject.revealed(modality)
    found: list[tuple[str, str]] = []
    if shown.get("shape") in _CORNERS and modality is not Modality.AUDIO:
        found.append(("How many corners does the object have?", _CORNERS[shown["shape"]]))
    if "motion" in shown and modality is Modality.VIDEO:
        found.append(("Which edge of the film does the object come nearer to?", _EDGES[shown["motion"]]))
    if {"color", "background"} <= shown.keys():
        found += _brightness(shown["color"], shown["background"])
    if "size" in shown and modality is Modality.AUDIO:
        found.append(
            ("Is what makes this sound small or large, and how can one tell?", _pitch(shown["size"]))
        )
    if modality is Modality.IMAGE:
        found += _halves(subject)
    return found


def _brightness(color: str, background: str) -> list[tuple[str, str]]:
    """Rec. 709 luma of the two."""
    weights = (0.2126, 0.7152, 0.0722)
    front, behind = (
        sum(w * c for w, c in zip(weights, rgb, strict=True))
        for rgb in (COLOR_RGB[color], BACKGROUND_RGB[background])
    )
    if abs(front - behind) < LEAST_DIFFERENCE:
        return []
    brighter = front > behind
    said = f"The object is {color} and the background is {background}, so the object is the "
    asked = "Is the object brighter or darker than what is behind it?"
    return [(asked, said + ("brighter" if brighter else "darker") + " of the two.")]


def _pitch(size: str) -> str:
    pitch = "high" if size == "small" else "low"
    return f"The sound is {pitch}, and {size} things sound {pitch}, so it is {size}."


def _halves(subject: Subject) -> list[tuple[str, str]]:
    if len(subject.boxes) != 1:
        return []
    left, top, right, bottom = subject.boxes[0].corners
    found = []
    for middle, names in (((left + right) / 2, ("left", "right")), ((top + bottom) / 2, ("upper", "lower"))):
        if abs(middle - 0.5) >= OFF_CENTER:
            side = names[int(middle > 0.5)]
            asked = f"Is the middle of the object in the {names[0]} or in the {names[1]} half of the picture?"
            found.append((asked, f"It is in the {side} half of the picture."))
    return found
