"""What the bundled model must show, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from anygen.modality import Modality

TEXT, IMAGE, AUDIO, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.VIDEO

Group = Literal["seen", "held_out"]
"""Requests about seen pairs of shape and color, or about pairs that no training sample shows or names."""

PAIR = "pair"
"""Shape and color both right."""
PRESENT = "present"
"""Every requested modality is in the answer."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of the table of requirements."""

    direction: str
    """Direction of the dialogues."""
    group: Group = "seen"
    """Which requests count."""
    modality: Modality | None = None
    """The graded output; None for what concerns the whole answer."""
    least: float = 0.0
    """Share that each graded attribute must reach."""
    special: Mapping[str, float] = field(default_factory=dict)
    """Attributes with a share of their own, or PAIR or PRESENT; then nothing else counts."""


def _each(directions: tuple[tuple[str, Modality], ...], least: float) -> tuple[Bar, ...]:
    return tuple(Bar(direction=name, modality=modality, least=least) for name, modality in directions)


_AUDIO = {"shape": 0.92, "size": 0.97, "motion": 0.92}

BARS: tuple[Bar, ...] = (
    Bar(direction="text-to-image", modality=IMAGE, least=0.95),
    Bar(direction="text-to-image", group="held_out", modality=IMAGE, special={PAIR: 0.85}),
    Bar(direction="text-to-video", modality=VIDEO, least=0.92),
    Bar(direction="text-to-video", group="held_out", modality=VIDEO, special={PAIR: 0.80}),
    Bar(direction="text-to-audio", modality=AUDIO, special=_AUDIO),
    *_each((("image-to-text", TEXT), ("video-to-text", TEXT)), 0.95),
    Bar(direction="image-to-text", group="held_out", modality=TEXT, special={PAIR: 0.85}),
    Bar(direction="video-to-text", group="held_out", modality=TEXT, special={PAIR: 0.85}),
    *_each(tuple((f"{source}-to-text", TEXT) for source in ("audio", "depth", "thermal", "imu")), 0.90),
    *_each(
        (
            ("image-to-audio", AUDIO),
            ("audio-to-image", IMAGE),
            ("depth-to-image", IMAGE),
            ("thermal-to-image", IMAGE),
            ("image-to-video", VIDEO),
            ("video-to-audio", AUDIO),
            ("audio-to-video", VIDEO),
            ("image-edit", IMAGE),
            ("audio-edit-to-image", IMAGE),
        ),
        0.88,
    ),
    Bar(direction="text-to-all", special={PRESENT: 1.0}),
    Bar(direction="text-to-all", modality=IMAGE, least=0.95),
    Bar(direction="text-to-all", modality=AUDIO, special=_AUDIO),
    Bar(direction="text-to-all", modality=VIDEO, least=0.92),
)
"""The table of requirements."""

HELD_OUT_COUNTED: frozenset[str] = frozenset(bar.direction for bar in BARS if bar.group == "held_out")
"""Directions whose requirements include held-out pairs."""


def check_bars(directions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare a report with the table.

    Args:
        directions: Part "directions" of a report of `run_toybox_suite`.

    Returns:
        One row for every bar and attribute that the report has: direction, group, modality, what, least,
        share, low, high, count and whether it passed.
    """
    rows = []
    for bar in BARS:
        scores = directions.get(bar.direction, {}).get(bar.group)
        if not scores:
            continue
        if PRESENT in bar.special:
            graded = {PRESENT: scores[PRESENT]}
        else:
            graded = scores["media"].get(str(bar.modality), {})
        wanted = bar.special or {name: bar.least for name in graded if name not in (PAIR, "all")}
        for name, least in wanted.items():
            tally = graded.get(name)
            if not tally or not tally["count"]:
                continue
            rows.append(
                {
                    "direction": bar.direction,
                    "group": bar.group,
                    "modality": None if bar.modality is None else str(bar.modality),
                    "what": name,
                    "least": least,
                    **{key: tally[key] for key in ("share", "low", "high", "count")},
                    "passed": tally["right"] >= least * tally["count"] - 1e-9,
                }
            )
    return rows
