"""Instruction samples without any model: Toybox's grammar speaks of what a subject's attributes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from anygen.modality import GENERATED, Modality
from anygen.toybox import lexicon as lex
from anygen.toybox.captions import caption
from anygen.toybox.dialogue_answers import HERE, cannot_tell, sentence, value_statement
from anygen.toybox.dialogue_requests import request, request_scene, typed
from anygen.toybox.scene import ATTRIBUTES, REVEALS, is_held_out

from ..records import MediaIn, MediaOut, Turn
from .conclusions import conclusions
from .kinds import Kind
from .subjects import Subject
from .trace import Rejected, Sample
from .wording import BRIEF, DETAILED, NAMES

_ASK: dict[str, tuple[str, ...]] = {
    "shape": ("What shape is it?", "Which shape is that?", "What object is this?"),
    "color": ("What color does it have?", "Which color is it?", "How is it colored?"),
    "size": ("How large is it?", "Is it small or large?", "What size is it?"),
    "background": ("What is behind it?", "What color is the background?", "What is it in front of?"),
    "motion": ("How does it move?", "Does it move, and where to?", "Which way is it going?"),
}
_THEN: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("Draw it for me.", "Show me a picture of it.", "I would like to see it as a picture."),
    Modality.AUDIO: ("What does it sound like?", "Let me hear it.", "Play its sound."),
    Modality.VIDEO: ("Show me a film of it.", "I would like to see it move.", "Make a video of it."),
}
_CHANGE = ("Now make it {}.", "The same, but {}, please.", "Could it be {} instead?")


class Grammar:
    """Makes a sample out of a subject's attributes.

    Args:
        seed: Of all that is drawn; a sample is a function of (seed, kind, number, subject).
    """

    name = "toybox-grammar"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def about(self) -> dict[str, str]:
        """What a sample's trace says of its maker, beyond name and seed."""
        return {}

    def make(self, kind: Kind, subject: Subject, number: int) -> Sample:
        """One sample.

        Args:
            kind: Which.
            subject: What it is about.
            number: Which of this kind.

        Raises:
            Rejected: The subject does not have what the kind needs.
        """
        rng = np.random.default_rng((self.seed, list(_MAKERS).index(kind), number))
        media = [m for m in subject.media if kind == "plain" or subject.revealed(m)]
        if not media:
            raise Rejected("no-attributes", "the captions name nothing that the toybox knows")
        modality = media[int(rng.integers(len(media)))]
        return Sample(turns=_MAKERS[kind](subject, modality, rng))


def plain(subject: Subject, modality: Modality, rng: np.random.Generator) -> tuple[Turn, ...]:
    """A request for a caption, and a caption: no grammar is needed, so any data set will do."""
    asked = lex.pick(rng, BRIEF).format(NAMES[modality])
    said = lex.pick(rng, subject.captions[modality])
    return (_user(subject, modality, asked), _assistant(said))


def _user(subject: Subject, modality: Modality, words: str) -> Turn:
    return Turn("user", (MediaIn(modality, subject.media[modality]), words))


def _assistant(*parts: str | MediaOut) -> Turn:
    return Turn("assistant", tuple(parts))


def _conversation(subject: Subject, modality: Modality, rng: np.random.Generator) -> tuple[Turn, ...]:
    """Two to four questions, each about another attribute; sometimes about one that is not shown."""
    revealed = subject.revealed(modality)
    names = [str(n) for n in rng.permutation(list(revealed))][: int(rng.integers(2, 5))]
    hidden = [n for n in ATTRIBUTES if n not in REVEALS[modality]]
    if hidden and rng.random() < 0.2:
        names.append(lex.pick(rng, hidden))
    turns = []
    for number, name in enumerate(names):
        asked = lex.pick(rng, _ASK[name])
        turns.append(_user(subject, modality, asked) if number == 0 else Turn("user", (asked,)))
        known = name in revealed
        said = sentence(value_statement(name, revealed[name])) if known else cannot_tell(name, modality)
        turns.append(_assistant(said))
    return tuple(turns)


def _detail(subject: Subject, modality: Modality, rng: np.random.Generator) -> tuple[Turn, ...]:
    """The caption, what is where, and what follows from it."""
    revealed = subject.revealed(modality)
    said = [f"This {NAMES[modality]} has {caption(revealed)}."]
    said += [answer for _, answer in conclusions(subject, modality)]
    asked = lex.pick(rng, DETAILED).format(NAMES[modality])
    return (_user(subject, modality, asked), _assistant(" ".join(said)))


def _reasoning(subject: Subject, modality: Modality, rng: np.random.Generator) -> tuple[Turn, ...]:
    """A question whose answer is not in the caption but follows from it."""
    known = conclusions(subject, modality)
    if not known:
        raise Rejected("nothing-follows", f"no conclusion can be drawn from this {NAMES[modality]}")
    asked, answer = lex.pick(rng, known)
    return (_user(subject, modality, asked), _assistant(answer))


def _t2m(subject: Subject, modality: Modality, rng: np.random.Generator) -> tuple[Turn, ...]:
    """Words in, the medium out."""
    revealed = subject.revealed(modality)
    asked = typed(request_scene(modality, revealed, rng, "train"), rng)
    return (Turn("user", (asked,)), _shown(revealed, modality, subject))


def _shown(revealed: Mapping[str, str], modality: Modality, subject: Subject | None) -> Turn:
    """The canonical caption right before the medium, as the model is to say it."""
    words = caption(revealed)
    source = subject.media.get(modality) if subject is not None else None
    return _assistant(HERE[modality].format(words), MediaOut(modality, words, source))


def _mosit(subject: Subject, modality: Modality, rng: np.random.Generator) -> tuple[Turn, ...]:
    """Three to five rounds: a medium comes in or is asked for, is changed, heard, seen, asked about."""
    known = subject.revealed(modality)
    if rng.random() < 0.5:
        turns = [_user(subject, modality, lex.pick(rng, BRIEF).format(NAMES[modality]))]
        turns.append(_assistant(HERE[Modality.TEXT].format(caption(known))))
    else:
        asked = typed(request(modality, caption(known, rng).rstrip("."), rng, "train"), rng)
        turns = [Turn("user", (asked,)), _shown(known, modality, subject)]
    for _ in range(int(rng.integers(2, 5))):
        move = lex.pick(rng, ("show", "show", "change", "ask"))
        if move == "ask":
            name = lex.pick(rng, list(known))
            turns.append(Turn("user", (lex.pick(rng, _ASK[name]),)))
            turns.append(_assistant(sentence(value_statement(name, known[name]))))
            continue
        outputs = [m for m in GENERATED if _visible(known, m)]
        if move == "change":
            known, words = _changed(known, rng)
            output = outputs[0]
        else:
            output = lex.pick(rng, outputs)
            words = lex.pick(rng, _THEN[output])
        same = subject if subject.revealed(output) == _visible(known, output) else None
        turns.append(Turn("user", (words,)))
        turns.append(_shown(_visible(known, output), output, same))
    return tuple(turns)


def _visible(known: Mapping[str, str], modality: Modality) -> dict[str, str]:
    return {n: known[n] for n in REVEALS[modality] if n in known}


def _changed(known: Mapping[str, str], rng: np.random.Generator) -> tuple[dict[str, str], str]:
    """Another value of something, never one that makes a pair that is held out."""
    while True:
        name = lex.pick(rng, list(known))
        value = lex.pick(rng, [v for v in ATTRIBUTES[name] if v != known[name]])
        if is_held_out({**known, name: value}):
            continue
        said = lex.MOTION_DOING[value][0] if name == "motion" else value
        words = {"shape": lex.with_article(value), "background": f"on a {value} background"}
        return {**known, name: value}, lex.pick(rng, _CHANGE).format(words.get(name, said))


_MAKERS: dict[Kind, Callable[[Subject, Modality, np.random.Generator], tuple[Turn, ...]]] = {
    "plain": plain, "conversation": _conversation, "detail": _detail, "reasoning": _reasoning,
    "t2m": _t2m, "mosit": _mosit,
}  # fmt: skip
