"""The oracle for text: which attributes a sentence names.

It matches the longest phrases of the lexicon, a few more that the captions do not use, and a small grammar
for motion and for the role of a color: "dark blue" behind "on" is a background, before a shape it is the
shape's color. What is not named, or named with two different values, is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from . import lexicon as lex
from .scene import ATTRIBUTES

Token = str
Span = tuple[int, int, str]
"""First token, token after the last, value."""

_MORE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {
        "circle": ("round", "circular", "dots", "sphere"),
        "square": ("quadratic",),
        "triangle": ("triangular",),
        "star": ("starry shape",),
        "ring": ("torus", "ring like shape"),
        "cross": ("crosses", "plus symbol", "cross like shape"),
    },
    "color": {
        "red": ("reddish",),
        "orange": ("orangish",),
        "yellow": ("gold", "yellowish"),
        "green": ("greenish", "lime green"),
        "cyan": (
            "light blue",
            "sky blue",
            "baby blue",
            "cyan blue",
            "turquoise blue",
            "aqua blue",
            "cyanish",
        ),
        "blue": ("bluish", "dark blue", "deep blue", "medium blue"),
        "purple": ("purplish",),
        "white": ("whitish",),
    },
    "size": {
        "small": ("wee", "minuscule", "compact", "smallish", "petite"),
        "large": ("gigantic", "immense", "sizable", "oversized", "largish", "colossal"),
    },
    "background": {
        "black": ("very dark black",),
        "gray": ("greyish", "grayish", "medium gray", "medium grey"),
        "navy": ("blue", "very dark blue", "navy colored"),
        "brown": ("brownish", "dark brown"),
    },
}
"""Words that the oracle understands besides those that the captions use."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PLACES = ("on", "against", "over", "upon", "before", "in front of", "on top of", "set on", "set against")
_GROUNDS = (*lex.BACKGROUND_NOUNS, "surface", "wall", "scene")
_FILLERS = _words("a an the plain solid simple very dark deep uniform color colored colour in its it s to")
_LINKS = _words(": is was of should be looks appears for to with")
_OBJECT_NOUNS = frozenset((*lex.PLAIN_NOUNS, "one", "item"))
_GOES = _words(
    "moving moves move moved going goes go drifting drifts drift sliding slides slide gliding glides glide "
    "traveling travels travel travelling heading heads head headed flying flies fly floating floats float "
    "shifting shifts shift scrolling scrolls scroll running runs run motion movement direction"
)
_BETWEEN = _words(
    "to the toward towards slowly steadily quickly constantly gently in an a is straight side direction of"
)
_DIRECTIONS: dict[str, str] = {
    **dict.fromkeys(("left", "leftward", "leftwards", "westward"), "left"),
    **dict.fromkeys(("right", "rightward", "rightwards", "eastward"), "right"),
    **dict.fromkeys(("up", "upward", "upwards", "top"), "up"),
    **dict.fromkeys(("down", "downward", "downwards", "bottom"), "down"),
}
_STILL_PHRASES = (
    "not moving",
    "does not move",
    "doesn t move",
    "isn t moving",
    "is not moving",
    "did not move",
    "no motion",
    "no movement",
    "nothing moves",
    "motion still",
    "remaining still",
    "remains still",
    "keeps still",
    "immobile",
)
_NOT_OF_OBJECTS = re.compile(r"\b(small|tiny|little) (world|model)\b", re.IGNORECASE)


def _tokens(text: str) -> list[Token]:
    """Words and sentence marks in lower case; hyphens and apostrophes part words."""
    return re.findall(r"[a-z0-9]+|[,.;:!?]", text.lower())


def _phrases(attribute: str, tables: Iterable[Mapping[str, tuple[str, ...]]]) -> dict[tuple[Token, ...], str]:
    """Every phrase as tokens, with the value it names."""
    found: dict[tuple[Token, ...], str] = {}
    for table in tables:
        for value, words in table.items():
            for word in words:
                found[tuple(_tokens(word))] = value
                if attribute == "shape":
                    found[tuple(_tokens(word + ("es" if word[-1] in "sx" else "s")))] = value
    return found


_TABLES: dict[str, dict[tuple[Token, ...], str]] = {
    "shape": _phrases("shape", (lex.SHAPE_NOUNS, _MORE_WORDS["shape"])),
    "color": _phrases("color", (lex.COLOR_WORDS, _MORE_WORDS["color"])),
    "size": _phrases("size", (lex.SIZE_WORDS, _MORE_WORDS["size"])),
    "background": _phrases("background", (lex.BACKGROUND_WORDS, _MORE_WORDS["background"])),
    "motion": _phrases(
        "motion",
        (
            lex.MOTION_ADJECTIVES,
            lex.MOTION_DOING,
            lex.MOTION_DOES,
            {value: words for value, words in lex.MOTION_DO.items() if value != "still"},
            {"still": (*lex.MOTION_DO["still"][:-1], *_STILL_PHRASES)},
        ),
    ),
}
_LONGEST = {name: max(map(len, table)) for name, table in _TABLES.items()}


def _match(name: str, tokens: list[Token], start: int) -> Span | None:
    """The longest phrase of an attribute that starts here."""
    for length in range(min(_LONGEST[name], len(tokens) - start), 0, -1):
        value = _TABLES[name].get(tuple(tokens[start : start + length]))
        if value is not None:
            return start, start + length, value
    return None


def _spans(name: str, tokens: list[Token]) -> list[Span]:
    """All phrases of an attribute, left to right, without overlaps."""
    spans: list[Span] = []
    start = 0
    while start < len(tokens):
        span = _match(name, tokens, start)
        if span is None:
            start += 1
        else:
            spans.append(span)
            start = span[1]
    return spans


def _denied(tokens: list[Token], start: int) -> bool:
    """Whether the phrase here is said not to hold, or not to hold any more."""
    before = tokens[max(0, start - 3) : start]
    while before and before[-1] in ("a", "an", "the", "color", "t"):
        before.pop()
    return bool(before) and (
        before[-1] in ("not", "isn", "never", "from") or before[-2:] == ["instead", "of"]
    )


def _is_place(tokens: list[Token], start: int) -> bool:
    """Whether the words right before are a preposition of place, articles and the like aside."""
    end = start
    while end > 0 and tokens[end - 1] in ("a", "an", "the", "plain", "solid", "simple", "very", "uniform"):
        end -= 1
    return any(tokens[max(0, end - len(place.split())) : end] == place.split() for place in _PLACES)


def _named_before(tokens: list[Token], start: int) -> bool:
    """Whether "background is", "background:" or the like leads here."""
    end = start
    while end > 0 and (tokens[end - 1] in _FILLERS or tokens[end - 1] in _LINKS):
        end -= 1
    linked = end == start or any(token in _LINKS for token in tokens[end:start])
    return end > 0 and linked and tokens[end - 1] in _GROUNDS


def _background_spans(tokens: list[Token]) -> list[Span]:
    """Color words in the role of a background."""
    spans = []
    for start, end, value in _spans("background", tokens):
        after = end
        while after < len(tokens) and tokens[after] in ("colored", "color", "colour", "plain", "solid"):
            after += 1
        following = tokens[after] if after < len(tokens) else "."
        names_object = following in _OBJECT_NOUNS or _match("shape", tokens, after) is not None
        said_of_ground = following in _GROUNDS
        placed = _is_place(tokens, start) or _named_before(tokens, start)
        if tokens[start:end] == ["blue"] and not said_of_ground:
            led = tokens[start - 1] if start else ""
            placed = led == "on" or (led in ("is", ":", "to") and _named_before(tokens, start))
        opens = start == 0 or tokens[start - 1] in _LINKS or tokens[start - 1] in ",.;!?"
        ends = opens and following in ",.;:!?" and _match("color", tokens, start) is None
        if said_of_ground or (placed and not names_object) or ends:
            spans.append((start, end, value))
    return spans


def _direction_spans(tokens: list[Token]) -> list[Span]:
    """Directions behind a verb ("moves slowly to the left"), before "direction", or alone between commas."""
    spans = []
    for index, token in enumerate(tokens):
        if token not in _DIRECTIONS:
            continue
        start = index
        while start > 0 and tokens[start - 1] in _BETWEEN:
            start -= 1
        led = start > 0 and (tokens[start - 1] in _GOES or tokens[start - 1] == ":")
        following = tokens[index + 1] if index + 1 < len(tokens) else "."
        mark_before = index == 0 or tokens[start - 1] in ",.;:!?" if start else True
        alone = mark_before and following in ",.;:!?"
        if led or alone or following in _GOES or token.endswith(("ward", "wards")):
            spans.append((index, index + 1, _DIRECTIONS[token]))
    return spans


def _shape_spans(tokens: list[Token]) -> list[Span]:
    """Shapes; "round" only where no other shape is named, "plus" not as a conjunction."""
    spans = []
    for start, end, value in _spans("shape", tokens):
        following = tokens[end] if end < len(tokens) else "."
        conjunction = tokens[start:end] == ["plus"] and following in ("a", "an", "the", "its", "some")
        if not conjunction:
            spans.append((start, end, value))
    adjectives = (["round"], ["circular"], ["triangular"])
    firm = [span for span in spans if tokens[span[0] : span[1]] not in adjectives]
    return firm or spans


def _motion_spans(tokens: list[Token]) -> list[Span]:
    """Motion phrases and directions; a "still" that only means "yet" does not count beside a movement."""
    spans = [*_spans("motion", tokens), *_direction_spans(tokens)]
    if {value for _, _, value in spans} - {"still"}:
        spans = [span for span in spans if tokens[span[0] : span[1]] != ["still"]]
    return spans


def _single(spans: Iterable[Span], tokens: list[Token], *, deniable: bool = True) -> str | None:
    """The one value that the spans agree on."""
    values = {value for start, _, value in spans if not (deniable and _denied(tokens, start))}
    return values.pop() if len(values) == 1 else None


def read_text(text: str) -> dict[str, str | None]:
    """Read attributes out of a caption, a request or a free answer.

    Args:
        text: English, any case.

    Returns:
        All five attributes in canonical order; None for what is not named or named inconsistently.
    """
    tokens = _tokens(_NOT_OF_OBJECTS.sub(" ", text))
    grounds = _background_spans(tokens)
    behind = {index for start, end, _ in grounds for index in range(start, end)}
    colors = [span for span in _spans("color", tokens) if span[0] not in behind]
    found = {
        "shape": _single(_shape_spans(tokens), tokens),
        "color": _single(colors, tokens),
        "size": _single(_spans("size", tokens), tokens),
        "background": _single(grounds, tokens),
        "motion": _single(_motion_spans(tokens), tokens, deniable=False),
    }
    return {name: found[name] for name in ATTRIBUTES}
