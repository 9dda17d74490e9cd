"""The users' words: templates for requests, questions and changes, as data.

`{x}` is what is asked for: a caption, a pronoun, or a way to point at a medium. A template is an order
("draw {x}"), a thing ("a picture of {x}"), a question ("what does {x} look like") or a whole utterance.
`Pool.reserved` is used in evaluation only, so that part of every score is on wordings that training never
hears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anygen.modality import Modality

from .dialogue_types import Split


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Interchangeable templates."""

    common: tuple[str, ...]
    """For training and evaluation."""
    reserved: tuple[str, ...] = ()
    """For evaluation alone."""

    def draw(self, rng: np.random.Generator, split: Split) -> str:
        """One template; in evaluation every fourth is a reserved one, where there are any."""
        if split == "eval" and self.reserved and rng.random() < 0.25:
            return self.reserved[int(rng.integers(len(self.reserved)))]
        return self.common[int(rng.integers(len(self.common)))]


IMAGE, AUDIO, VIDEO = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO

ORDERS: dict[Modality, Pool] = {
    IMAGE: Pool(
        common=(
            "draw {x}",
            "draw me {x}",
            "paint {x}",
            "sketch {x}",
            "draw a picture of {x}",
            "make an image of {x}",
            "make a picture of {x}",
            "create an image of {x}",
            "create a picture of {x}",
            "generate an image of {x}",
            "generate a picture of {x}",
            "show me a picture of {x}",
            "show me an image of {x}",
            "show a picture of {x}",
            "generate a picture showing {x}",
            "produce an image of {x}",
            "render an image of {x}",
            "make me a drawing of {x}",
            "illustrate {x}",
            "visualize {x}",
            "depict {x}",
            "paint a picture of {x}",
            "let me see a picture of {x}",
        ),
        reserved=("draw an image of {x}", "produce a drawing of {x}", "let me see an image of {x}"),
    ),
    AUDIO: Pool(
        common=(
            "play {x}",
            "play the sound of {x}",
            "play me the sound of {x}",
            "play a sound for {x}",
            "play the audio of {x}",
            "let me hear {x}",
            "let me hear the sound of {x}",
            "make the sound of {x}",
            "make a sound for {x}",
            "generate the sound of {x}",
            "generate audio of {x}",
            "generate audio for {x}",
            "generate a sound clip of {x}",
            "create audio of {x}",
            "create the sound of {x}",
            "produce the sound of {x}",
            "render the sound of {x}",
            "synthesize the sound of {x}",
            "play an audio clip of {x}",
            "record the sound of {x}",
            "turn {x} into sound",
        ),
        reserved=("play me an audio clip of {x}", "let me listen to {x}", "create a sound for {x}"),
    ),
    VIDEO: Pool(
        common=(
            "film {x}",
            "animate {x}",
            "make a video of {x}",
            "make a clip of {x}",
            "make a movie of {x}",
            "make an animation of {x}",
            "create a video of {x}",
            "create an animation of {x}",
            "create a short clip of {x}",
            "generate a video of {x}",
            "generate a short video of {x}",
            "generate a clip of {x}",
            "show me a video of {x}",
            "show a video of {x}",
            "record a video of {x}",
            "produce a video of {x}",
            "render a video of {x}",
            "generate a video showing {x}",
            "let me see a video of {x}",
            "show me {x} in a video",
        ),
        reserved=("make a video clip of {x}", "produce an animation of {x}", "show me a clip of {x}"),
    ),
}
"""Orders that name the medium."""

THINGS: dict[Modality, Pool] = {
    IMAGE: Pool(
        common=(
            "an image of {x}",
            "a picture of {x}",
            "a drawing of {x}",
            "a photo of {x}",
            "an illustration of {x}",
            "a painting of {x}",
            "one image of {x}",
            "{x} as an image",
            "{x} as a picture",
            "a picture with {x}",
            "a picture showing {x}",
            "an image that shows {x}",
            "a 64 pixel image of {x}",
        ),
        reserved=("a nice picture of {x}", "an image showing {x}"),
    ),
    AUDIO: Pool(
        common=(
            "the sound of {x}",
            "audio of {x}",
            "a sound clip of {x}",
            "a recording of {x}",
            "the noise of {x}",
            "an audio clip of {x}",
            "{x} as a sound",
            "{x} as audio",
            "a sound for {x}",
            "the audio for {x}",
            "the sound that {x} makes",
        ),
        reserved=("a sound recording of {x}", "the audio of {x}"),
    ),
    VIDEO: Pool(
        common=(
            "a video of {x}",
            "a clip of {x}",
            "an animation of {x}",
            "a short video of {x}",
            "a movie of {x}",
            "{x} as a video",
            "a video showing {x}",
            "a video clip of {x}",
            "a two second video of {x}",
            "a short clip showing {x}",
        ),
        reserved=("a short movie of {x}", "a video with {x}"),
    ),
}
"""Things that name the medium."""

QUESTIONS: dict[Modality, Pool] = {
    IMAGE: Pool(
        common=(
            "what does {x} look like",
            "how does {x} look",
            "what would {x} look like",
            "can I see a picture of {x}",
            "do you have an image of {x}",
            "may I see a drawing of {x}",
        ),
        reserved=("how would {x} look",),
    ),
    AUDIO: Pool(
        common=(
            "what does {x} sound like",
            "how does {x} sound",
            "what sound does {x} make",
            "what noise does {x} make",
            "what would {x} sound like",
            "can I hear {x}",
            "can I listen to {x}",
            "may I listen to {x}",
            "could we listen to {x}",
            "can I hear the sound of {x}",
            "do you know the sound of {x}",
        ),
        reserved=("how would {x} sound",),
    ),
    VIDEO: Pool(
        common=(
            "can I see a video of {x}",
            "do you have a video of {x}",
            "can you film {x}",
            "what does {x} look like in a video",
            "may I see a clip of {x}",
        ),
        reserved=("can I see an animation of {x}",),
    ),
}
"""Questions that ask for a medium."""

UTTERANCES: dict[Modality, Pool] = {
    IMAGE: Pool(
        common=(
            "I want to see a picture of {x}",
            "I'd like to see a drawing of {x}",
            "image: {x}",
            "picture: {x}",
            "image of {x}",
            "picture of {x}",
            "{x}, as an image",
            "{x}. draw it",
        ),
    ),
    AUDIO: Pool(
        common=(
            "I want to hear {x}",
            "I'd like to hear {x}",
            "I would like to hear the sound of {x}",
            "I want to listen to {x}",
            "I'd like to listen to {x}",
            "I need to listen to {x}",
            "something to listen to: {x}",
            "I would be glad to hear {x}",
            "audio: {x}",
            "sound: {x}",
            "sound of {x}",
            "{x}, as a sound",
            "{x}. play its sound",
        ),
    ),
    VIDEO: Pool(
        common=(
            "I want to see a video of {x}",
            "I'd like to watch {x}",
            "video: {x}",
            "clip: {x}",
            "video of {x}",
            "{x}, as a video",
            "{x}. animate it",
            "I want to watch a video of {x}",
            "I would be glad to watch {x}",
        ),
    ),
}
"""Whole utterances that name the medium; nothing is wrapped around them."""

NEUTRAL = Pool(
    common=(
        "show me {x}",
        "show {x}",
        "generate {x}",
        "create {x}",
        "make {x}",
        "render {x}",
        "let me see {x}",
        "display {x}",
        "make me {x}",
        "give me {x}",
        "I want to see {x}",
        "I'd like to see {x}",
        "I would like to see {x}",
        "I would enjoy seeing {x}",
        "I really want to see {x}",
        "I would be glad to see {x}",
        "I hope to see {x}",
        "I need to see {x}",
        "{x}",
        "{x}",
        "find me {x}",
        "imagine {x}",
        "design {x}",
        "produce {x}",
        "how about {x}",
        "a scene with {x}",
    ),
    reserved=("I would love to see {x}", "get me {x}"),
)
"""Requests without a medium: an image, or a video where a motion is named."""

NAMES: dict[Modality, tuple[str, ...]] = {
    IMAGE: ("an image", "a picture", "a drawing", "image", "picture", "one image", "a photo"),
    AUDIO: ("a sound", "audio", "the sound", "sound", "an audio clip", "a sound clip", "the audio"),
    VIDEO: ("a video", "video", "a clip", "an animation", "a short video", "a movie"),
}
"""Media in a list: "an image, audio and a video"."""

AGAIN: dict[Modality, Pool] = {
    IMAGE: Pool(
        common=(
            "draw it",
            "show it",
            "paint it",
            "show me a picture of it",
            "make an image of it",
            "show me an image",
            "give me a picture",
            "show what it looks like",
        ),
        reserved=("show me its picture",),
    ),
    AUDIO: Pool(
        common=(
            "play its sound",
            "play the sound",
            "let me hear it",
            "play it",
            "make its sound",
            "play the sound it makes",
            "give me its sound",
            "show what it sounds like",
            "add its sound",
            "let me hear its sound",
        ),
        reserved=("let me hear the sound it makes",),
    ),
    VIDEO: Pool(
        common=(
            "make a video of it",
            "animate it",
            "film it",
            "show it in a video",
            "show me a video of it",
            "give me a video",
            "add a video",
            "create a clip of it",
        ),
        reserved=("make a clip of it",),
    ),
}
"""Orders that continue a request: "draw a star, then play its sound"."""
