"""From what a model wrote to turns: strictly, so that nothing half right gets into a data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from anygen.modality import GENERATED, Modality

from ..records import MediaIn, MediaOut, Part, Turn
from ..sources import MediaSource
from .kinds import Kind
from .subjects import Subject
from .trace import Rejected

ROUNDS: dict[Kind, tuple[int, int]] = {
    "conversation": (2, 6),
    "reasoning": (1, 1),
    "t2m": (1, 1),
    "mosit": (2, 7),
}
"""Fewest and most questions of a kind."""
LEAST_WORDS: dict[Kind, int] = {"detail": 15, "reasoning": 8}
"""Words that an answer must have."""
MOST_REPEATED = 0.2
"""Largest share of an answer's runs of four words that were there before (seq-rep-4, Welleck et al. 2019,
arXiv 1908.04319); the worked examples stay below a tenth."""

_LINE = re.compile(r"(?P<who>User|Assistant): *(?P<words>.*)")
_TAG = re.compile(r"\[(?P<modality>image|audio|video)(?:: *(?P<words>[^\[\]]*))?\]")
_TELLS = re.compile(
    r"\b(captions?|bounding box(?:es)?|coordinates?|(?:given|provided) (?:text|description|information)|"
    r"as an ai|language model)\b",
    re.IGNORECASE,
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """a an the and or of on in at to is are was it its this that with for as by from be has have there
        what which who how where when why do does did can could you your i me my we they them he she his her
        not no yes image picture photo sound audio video film show shows showing see seen""",
    )
)
"""Words that say nothing of what is there."""


def parse(
    kind: Kind, text: str, subject: Subject, modality: Modality, copied: Sequence[str]
) -> tuple[Turn, ...]:
    """Read an answer of the form that the kind's prompt asks for.

    Args:
        kind: What was asked for.
        text: What the model wrote.
        subject: What it was told.
        modality: The medium that the sample is about.
        copied: Answers of the examples, which it must not repeat.

    Raises:
        Rejected: With a reason: format, rounds, too-short, tells-source, ungrounded, repeated, copied, media.
    """
    text = text.strip()
    if any(text == example for example in copied):
        raise Rejected("copied", "the answer is that of an example", text)
    rounds = _rounds(kind, text)
    _check_words(kind, rounds, subject, text)
    try:
        shown = [_place(asked, said, kind, subject, modality, i) for i, (asked, said) in enumerate(rounds)]
    except Rejected as rejected:
        raise Rejected(rejected.reason, rejected.message, text) from None
    turns = tuple(turn for pair in shown for turn in pair)
    _check_media(kind, turns, text)
    return turns


def _rounds(kind: Kind, text: str) -> list[tuple[str, str]]:
    """(question, answer) pairs; the question of a detailed description is asked by us."""
    if kind == "detail":
        if _LINE.match(text) or "\nUser:" in text:
            raise Rejected("format", "found a dialogue, expected a description", text)
        return [("", " ".join(text.split()))]
    turns: list[tuple[str, str]] = []
    for line in filter(str.strip, text.splitlines()):
        found = _LINE.fullmatch(line.strip())
        if found is not None:
            turns.append((found["who"], found["words"].strip()))
        elif turns and turns[-1][0] == "Assistant":
            turns[-1] = ("Assistant", f"{turns[-1][1]} {line.strip()}".strip())
        else:
            raise Rejected("format", f"found {line[:40]!r}, expected lines of User: and Assistant:", text)
    whose = [who for who, _ in turns]
    if not turns or whose != ["User", "Assistant"] * (len(turns) // 2) or not all(w for _, w in turns):
        raise Rejected("format", "expected User: and Assistant: by turns, each with words", text)
    rounds = [(turns[i][1], turns[i + 1][1]) for i in range(0, len(turns), 2)]
    least, most = ROUNDS[kind]
    if not least <= len(rounds) <= most:
        raise Rejected("rounds", f"found {len(rounds)} rounds, expected {least} to {most}", text)
    return rounds


def _check_words(kind: Kind, rounds: Sequence[tuple[str, str]], subject: Subject, text: str) -> None:
    if (told := _TELLS.search(text)) is not None:
        raise Rejected("tells-source", f"found {told[0]!r}: the model speaks of its source", text)
    asked = [question.lower() for question, _ in rounds if question]
    if len(set(asked)) < len(asked):
        raise Rejected("repeated", "found a question twice", text)
    if (share := _repetition([said for _, said in rounds])) > MOST_REPEATED:
        raise Rejected("repeated", f"{share:.0%} of the answers are words that were said before", text)
    least = LEAST_WORDS.get(kind, 1)
    if any(len(_TAG.sub("", said).split()) < least for _, said in rounds):
        raise Rejected("too-short", f"found an answer of fewer than {least} words", text)
    known = _content(" ".join(t for texts in subject.captions.values() for t in texts))
    known |= _content(" ".join(box.name for box in subject.boxes))
    if not known & _content(" ".join(said for _, said in rounds) + " " + " ".join(asked)):
        raise Rejected("ungrounded", "no word of the captions is in it", text)


def _repetition(texts: Sequence[str]) -> float:
    """Share of runs of four words that occur earlier in the same texts."""
    found = [re.findall(r"\w+", text.lower()) for text in texts]
    runs = [tuple(words[i : i + 4]) for words in found for i in range(len(words) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _content(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower())) - _COMMON


def _place(
    asked: str, said: str, kind: Kind, subject: Subject, modality: Modality, number: int
) -> tuple[Turn, Turn]:
    """Put media where tags stand; where the kind has media in, the first question has it in any case."""
    medium = MediaIn(modality, subject.media[modality])
    parts = _parts(asked, lambda m, words: MediaIn(m, _file(subject, m)))
    if number == 0 and kind in ("conversation", "detail", "reasoning"):
        parts = [medium, *(part for part in parts if isinstance(part, str))]

    def out(m: Modality, words: str) -> MediaOut:
        texts = subject.captions.get(m, ())
        caption = words or (texts[0] if texts else "")
        if not caption:
            raise Rejected("media", f"found [{m}] without words, expected [{m}: what it shows]")
        return MediaOut(m, caption, subject.media.get(m) if caption in texts else None)

    return Turn("user", tuple(parts)), Turn("assistant", tuple(_parts(said, out)))


def _file(subject: Subject, modality: Modality) -> MediaSource:
    if modality not in subject.media:
        raise Rejected("media", f"found [{modality}] of the user, who has none")
    return subject.media[modality]


def _parts(text: str, make: Callable[[Modality, str], Part]) -> list[Part]:
    parts: list[Part] = []
    position = 0
    for tag in _TAG.finditer(text):
        parts.append(text[position : tag.start()])
        parts.append(make(Modality(tag["modality"]), (tag["words"] or "").strip()))
        position = tag.end()
    parts.append(text[position:])
    return [part for part in parts if not isinstance(part, str) or part.strip()]


def _check_media(kind: Kind, turns: Sequence[Turn], text: str) -> None:
    """T2M shows one medium and MosIT at least one; the others show none."""
    shown = [part for turn in turns for part in turn.parts if isinstance(part, MediaOut)]
    least, most = {"t2m": (1, 1), "mosit": (1, len(GENERATED) * 7)}.get(kind, (0, 0))
    if not least <= len(shown) <= most:
        raise Rejected("media", f"found {len(shown)} media in the answers, expected {least} to {most}", text)
    if kind == "t2m" and any(isinstance(p, MediaIn) for turn in turns for p in turn.parts):
        raise Rejected("media", "found a medium in the request, expected words alone", text)
    if any("[" in part for turn in turns for part in turn.parts if isinstance(part, str)):
        raise Rejected("media", "found a bracket that is no medium", text)
