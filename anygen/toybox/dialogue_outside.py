"""Requests for what the world does not have; the answer says so in words and shows nothing."""

from __future__ import annotations

import numpy as np

from anygen.modality import GENERATED, MEDIA_INPUTS

from . import lexicon as lex
from .captions import noun_phrase
from .dialogue_answers import ONE_AT_A_TIME, OUTSIDE, UNKNOWN
from .dialogue_media import place
from .dialogue_requests import order, request, typed
from .dialogue_types import Dialogue, InputMedia, Split, assistant, user
from .dialogue_words import NEUTRAL
from .scene import sample_scene


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


THINGS_OUTSIDE: tuple[str, ...] = _split(
    "dragon cat dog horse cow bird fish lion tiger elephant giraffe monkey snake spider bee butterfly "
    "rabbit wolf bear fox frog duck chicken pig sheep mouse whale shark dolphin penguin owl eagle "
    "dinosaur unicorn house castle tower bridge church city village street road car truck bus train "
    "bicycle boat ship plane airplane rocket helicopter tree flower forest rose mountain river lake "
    "ocean beach desert island volcano cloud sun moon planet rainbow storm snowman robot wizard knight "
    "princess king queen pirate ninja ghost vampire zombie alien person man woman child baby face hand "
    "eye heart portrait banana apple pizza cake bread cheese burger sandwich coffee cup bottle glass "
    "plate chair table lamp bed sofa door window clock phone computer keyboard guitar piano violin drum "
    "trumpet flute book newspaper letter map flag hat shoe shirt dress umbrella bag sword shield crown "
    "key hammer knife candle fire waterfall garden farm kitchen airport stadium school hospital "
    "spaceship galaxy comet logo poster emoji cartoon landscape sunset skyline symphony opera song "
    "orchestra choir engine siren thunder rain wind waves laughter applause speech voice footsteps "
    "football tennis basketball chess soldier doctor teacher crowd family wedding parade tractor "
    "skateboard balloon kite toy doll teddy pumpkin tomato carrot mushroom cactus leaf feather shell "
    "stone diamond necklace mirror ladder bucket rope wheel anchor telescope "
)

_SHAPES_OUTSIDE = _split(
    "hexagon pentagon octagon heart diamond rectangle oval ellipse cube pyramid sphere cone cylinder "
    "crescent arrow spiral trapezoid rhombus parallelogram prism moon polygon line curve"
)
_COLORS_OUTSIDE = (
    "pink",
    "magenta",
    "beige",
    "maroon",
    "silver",
    "olive",
    "khaki",
    "rainbow",
    "transparent",
    "peach",
)
_BACKGROUNDS_OUTSIDE = (
    "green",
    "red",
    "yellow",
    "pink",
    "purple",
    "orange",
    "white",
    "striped",
    "checkered",
    "silver",
)
_MOTIONS_OUTSIDE = (
    "spinning",
    "rotating",
    "bouncing",
    "jumping",
    "moving in a circle",
    "exploding",
    "moving diagonally",
    "shaking",
    "zigzagging",
    "dancing",
    "blinking",
    "running",
)
_SIZES_OUTSIDE = ("medium", "medium-sized", "middle-sized", "average-sized", "mid-size")

_QUESTIONS: tuple[str, ...] = (
    "write a poem",
    "write a poem about love",
    "what is the capital of {c}?",
    "who is the president of {c}?",
    "how many people live in {c}?",
    "what is {n} plus {m}?",
    "what is {n} times {m}?",
    "solve {n} + {m}",
    "what time is it?",
    "what is the weather today?",
    "will it rain tomorrow?",
    "tell me a joke",
    "tell me a story about a {t}",
    "write a story",
    "who won the world cup?",
    "translate this to {l}",
    "how do I say hello in {l}?",
    "write python code to sort a list",
    "write a function in javascript",
    "fix my code",
    "what is the meaning of life?",
    "who invented the {t}?",
    "what is a {t}?",
    "why is the sky so high?",
    "explain quantum physics",
    "explain how a {t} works",
    "give me a recipe for {t} soup",
    "how do I cook pasta?",
    "book a flight to {c}",
    "what should I eat tonight?",
    "recommend a movie to watch",
    "who wrote hamlet?",
    "summarize the news",
    "what is the stock price of apple?",
    "sing me a song about a {t}",
    "do you love me?",
    "what do you think about politics?",
    "when was the {t} invented?",
    "how far is {c} from here?",
    "how old is the universe?",
    "can you call my mother?",
    "send an email to my boss",
    "play some jazz music",
    "play a song by mozart",
    "say something in {l}",
    "read this aloud in a human voice",
)

_ABOUT_MEDIA: tuple[str, ...] = (
    "who made this?",
    "where was this taken?",
    "how much does it cost?",
    "what year is this from?",
    "who painted it?",
    "is there a {t} in it?",
    "turn it into a {t}",
    "make it a {t}",
    "replace it with a {t}",
    "add a {t} next to it",
    "draw a {t} on top of it",
    "what is the name of the {t} here?",
    "put it in a {t}",
    "write a poem about this",
    "make it look like a {t}",
)

_COUNTRIES = _split(
    "france germany spain italy japan china brazil india canada egypt kenya norway chile peru"
)
_LANGUAGES = _split("french german spanish italian japanese chinese latin greek arabic")

_SYLLABLES = _split(
    "ba be bo bu ca cho da di do fa fi fu ga gre ha jo ka ke lo lu ma mi mo na no pa pe po qua ra ri"
)
_ENDINGS = _split("x n rt l sk m nd p th mp zz r ck st bble ton ler que dge")


_KNOWN = frozenset(word for nouns in lex.SHAPE_NOUNS.values() for word in nouns)


def _thing(rng: np.random.Generator) -> str:
    """A noun from outside the world, now and then an invented word, so that no list has to be complete."""
    word = lex.pick(rng, THINGS_OUTSIDE)
    if rng.random() < 0.25:
        syllables = [lex.pick(rng, _SYLLABLES) for _ in range(1 + int(rng.integers(3)))]
        word = "".join(syllables) + lex.pick(rng, _ENDINGS)
    return word if word not in _KNOWN else "dragon"


def _fill(template: str, rng: np.random.Generator) -> str:
    text = template.format(
        t=_thing(rng),
        c=lex.pick(rng, _COUNTRIES),
        l=lex.pick(rng, _LANGUAGES),
        n=int(rng.integers(100)),
        m=int(rng.integers(100)),
    )
    for vowel in "aeio":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text


def _of_outside_thing(rng: np.random.Generator) -> tuple[str, str]:
    """A noun phrase with a foreign noun, often in the world's own adjectives, and its answer."""
    scene = sample_scene(rng)
    noun = _thing(rng)
    words = [lex.pick_word(rng, lex.SIZE_WORDS[scene.size])] if rng.random() < 0.3 else []
    words += [lex.pick_word(rng, lex.COLOR_WORDS[scene.color])] if rng.random() < 0.35 else []
    text = lex.with_article(" ".join([*words, noun]))
    if rng.random() < 0.2:
        text += " " + lex.pick_word(rng, lex.MOTION_DOING[scene.motion], 0.4)
    elif rng.random() < 0.2:
        text += " " + lex.pick(
            rng, (f"on a {scene.background} background", f"with a {_thing(rng)}", f"in a {_thing(rng)}")
        )
    return text, OUTSIDE


def _of_unknown_value(rng: np.random.Generator) -> tuple[str, str]:
    """A noun phrase in which one value does not exist, and its answer."""
    name = lex.pick(rng, ("shape", "shape", "color", "color", "background", "motion", "size"))
    scene = sample_scene(rng)
    shape = lex.pick(rng, _SHAPES_OUTSIDE) if name == "shape" else scene.shape
    color = lex.pick(rng, _COLORS_OUTSIDE) if name == "color" else scene.color
    size = lex.pick(rng, _SIZES_OUTSIDE) if name == "size" else scene.size
    words = [size] if name == "size" or rng.random() < 0.4 else []
    words += [color] if name == "color" or rng.random() < 0.5 else []
    text = lex.with_article(" ".join([*words, shape]))
    if name == "background":
        text += f" on a {lex.pick(rng, _BACKGROUNDS_OUTSIDE)} background"
    elif name == "motion":
        text += " " + lex.pick(rng, _MOTIONS_OUTSIDE)
    elif rng.random() < 0.3:
        text += f" on a {scene.background} background"
    return text, UNKNOWN[name]


def _of_two_things(rng: np.random.Generator) -> tuple[str, str]:
    """Two objects at once, and the answer to that."""
    first, second = sample_scene(rng), sample_scene(rng)
    pairs = [{n: getattr(s, n) for n in ("shape", "color") if rng.random() < 0.75} for s in (first, second)]
    said = [noun_phrase(p or {"shape": s.shape}, rng) for p, s in zip(pairs, (first, second), strict=True)]
    if rng.random() < 0.3:
        number = lex.pick(rng, ("two", "three", "four", "many", "ten", "several", "five"))
        plural = first.shape + ("es" if first.shape == "cross" else "s")
        return f"{number} {first.color} {plural}", ONE_AT_A_TIME
    joint = lex.pick(rng, ("and", "and", "next to", "beside", "above", "inside", "with"))
    return f"{said[0]} {joint} {said[1]}", ONE_AT_A_TIME


def outside(direction: str, rng: np.random.Generator, *, split: Split) -> Dialogue:
    """A request that cannot be met: foreign things, unknown values, several objects, other tasks."""
    chance = rng.random()
    if chance < 0.25:
        prompt = user(typed(_fill(lex.pick(rng, _QUESTIONS), rng), rng))
        return Dialogue(direction=direction, turns=(prompt, assistant(OUTSIDE)))
    if chance < 0.35:
        return _about_media(direction, rng, split)
    if chance < 0.7:
        x, answer = _of_outside_thing(rng)
    else:
        x, answer = _of_unknown_value(rng) if chance < 0.9 else _of_two_things(rng)
    if rng.random() < 0.4:
        text = NEUTRAL.draw(rng, split).format(x=x)
    else:
        text = request(lex.pick(rng, GENERATED), x, rng, split)
    return Dialogue(direction=direction, turns=(user(typed(text, rng)), assistant(answer)))


def _about_media(direction: str, rng: np.random.Generator, split: Split) -> Dialogue:
    """A foreign question or change with a medium attached."""
    media = [InputMedia(modality=lex.pick(rng, MEDIA_INPUTS), scene=sample_scene(rng))]
    chance = rng.random()
    if chance < 0.2:
        text, answer = order(f"make it {lex.pick(rng, _COLORS_OUTSIDE)}", rng, split), UNKNOWN["color"]
    elif chance < 0.35:
        text, answer = order(f"turn it into a {lex.pick(rng, _SHAPES_OUTSIDE)}", rng, split), UNKNOWN["shape"]
    elif chance < 0.5:
        text, answer = lex.pick(rng, _QUESTIONS[:30]), OUTSIDE
    else:
        text, answer = lex.pick(rng, _ABOUT_MEDIA), OUTSIDE
    return Dialogue(
        direction=direction, turns=(place(media, typed(_fill(text, rng), rng), rng), assistant(answer))
    )
