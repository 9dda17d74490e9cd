"""Grading media against what they should show, by the analytic oracles alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox.oracles import read

ALL = "all"
"""Key of the tally that counts items with every expected attribute right."""


def grade(
    modality: Modality, media_list: Sequence[Any], expected: Sequence[Mapping[str, str]]
) -> dict[str, tuple[int, int]]:
    """Count, per attribute, how many items show what they should.

    Args:
        modality: What the items are.
        media_list: Media objects (`PIL.Image.Image`, `Audio`, ...) or texts; None counts as all wrong.
        expected: For each item the attributes it must show; only these are graded.

    Returns:
        Attribute to (right, count), then "all" for items with every expected attribute right.

    Raises:
        BadArgument: the two lists differ in length.
    """
    if len(media_list) != len(expected):
        raise BadArgument(
            f"Found {len(media_list)} items and {len(expected)} expectations; expected as many."
        )
    right: dict[str, int] = {}
    count: dict[str, int] = {}
    for media, attributes in zip(media_list, expected, strict=True):
        found = {} if media is None else read(modality, media)
        hits = {name: found.get(name) == value for name, value in attributes.items()}
        hits[ALL] = all(hits.values())
        for name, hit in hits.items():
            right[name] = right.get(name, 0) + int(hit)
            count[name] = count.get(name, 0) + 1
    names = [*(name for name in count if name != ALL), *([ALL] if ALL in count else [])]
    return {name: (right[name], count[name]) for name in names}
