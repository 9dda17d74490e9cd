"""Requests that suites put to a model, and what it made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anygen.errors import AnyGenError
from anygen.modality import GENERATED, Modality
from anygen.toybox.captions import caption
from anygen.toybox.dialogue_followups import complete_scene
from anygen.toybox.render import render

from .items import Item
from .options import Graded, SuiteOptions
from .toybox_requests import build_request

ASK: dict[Modality, str] = {
    Modality.IMAGE: "Draw {}",
    Modality.AUDIO: "Play the sound of {}",
    Modality.VIDEO: "Film {}",
}
"""How media of one's own captions are asked for."""

ASK_ALL = "Show me an image, a sound and a video of {}"
"""Likewise, all of them at once."""

DESCRIBE = "Describe this {}"
"""How one's own media are asked about."""

NAMES: dict[Modality, str] = {
    m: {Modality.AUDIO: "sound", Modality.IMU: "motion trace", Modality.DEPTH: "depth map",
        Modality.THERMAL: "thermal map"}.get(m, m.value)
    for m in Modality
}  # fmt: skip
"""What a medium is called in words."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """One answer to a request for media."""

    caption: str
    """What was asked for."""
    media: Mapping[Modality, Any]
    """The first medium of each modality that the answer has."""
    error: str | None
    """Code of the error in its place."""


def describing_requests(
    modality: Modality, options: SuiteOptions
) -> list[tuple[list[dict[str, Any]], int, tuple[str, ...]]]:
    """(conversation, seed, references) of requests to say what a medium shows.

    Args:
        modality: What is shown.
        options: Count, seed, data.
    """
    if options.data is None:
        found = []
        for index in range(options.count):
            request = build_request(f"{modality}-to-text", index, seed=options.seed)
            rng = np.random.default_rng((options.seed, 35, index))
            named = dict(request.asked.get(Modality.TEXT, {}))
            texts = tuple(caption(named, rng) for _ in range(4)) if named else ()
            found.append((request.conversation, request.seed, (request.answer, *texts)))
        return found
    return [
        (
            _user(
                [{"type": modality.value, modality.value: item.media[modality]()}, _text(_describe(modality))]
            ),
            options.seed + index,
            item.captions,
        )
        for index, item in enumerate(options.items([modality]))
    ]


def _describe(modality: Modality) -> str:
    return DESCRIBE.format(NAMES[modality])


def _user(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": parts}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def make_media(
    model: Graded, modalities: Sequence[Modality], options: SuiteOptions
) -> tuple[list[Made], list[Item]]:
    """Ask for media, and bring real ones of what was asked.

    Args:
        model: Whose pipeline answers.
        modalities: One of `GENERATED`, or all of them.
        options: Count, seed, batch size, data.

    Returns:
        The answers, and items with a real medium of each modality: renderings of scenes as asked for, or
        the data set's own.
    """
    modalities = list(modalities)
    requests: list[tuple[list[dict[str, Any]], int, str]] = []
    real: list[Item] = []
    if options.data is None:
        direction = f"text-to-{modalities[0]}" if len(modalities) == 1 else "text-to-all"
        for index in range(options.count):
            request = build_request(direction, index, seed=options.seed)
            asked: dict[str, str] = {}
            for attributes in request.asked.values():
                asked |= attributes
            requests.append((request.conversation, request.seed, caption(asked)))
            real.append(_real(asked, modalities, (options.seed, 36, index)))
    else:
        template = ASK[modalities[0]] if len(modalities) == 1 else ASK_ALL
        real = options.items(modalities)
        for index, item in enumerate(real):
            words = _user([_text(template.format(item.captions[0]))])
            requests.append((words, options.seed + index, item.captions[0]))
    made = []
    for start in range(0, len(requests), options.batch_size):
        options.say(f"{', '.join(modalities)} {start}/{len(requests)}")
        chunk = requests[start : start + options.batch_size]
        outputs = list(modalities) if options.data is not None else None
        replies = answer(model, [r[0] for r in chunk], [r[1] for r in chunk], outputs)
        made += [_made(text, reply) for (_, _, text), reply in zip(chunk, replies, strict=True)]
    return made, real


def _real(asked: Mapping[str, str], modalities: Sequence[Modality], key: tuple[int, ...]) -> Item:
    scene = complete_scene(asked, np.random.default_rng(key))
    media = {
        m: lambda m=m, n=n: render(scene, m, rng=np.random.default_rng((*key, n)))
        for n, m in enumerate(modalities)
    }
    return Item(media=media, captions=(caption(dict(asked)),), labels=dict(asked))


def answer(
    model: Graded,
    conversations: Sequence[Any],
    seeds: Sequence[int],
    outputs: Sequence[Modality] | None = None,
) -> list[Any]:
    """Replies to a batch; where it fails, to every request alone, with the error in place of its reply.

    Args:
        model: Whose pipeline answers.
        conversations: One for each request.
        seeds: Likewise.
        outputs: Modalities that must be in every answer.
    """
    more = {} if outputs is None else {"outputs": list(outputs)}
    try:
        return list(model.pipe(list(conversations), seed=list(seeds), **more))
    except AnyGenError as error:
        if len(conversations) == 1:
            return [error]
    pairs = zip(conversations, seeds, strict=True)
    return [reply for c, s in pairs for reply in answer(model, [c], [s], outputs)]


def _made(text: str, reply: Any) -> Made:
    if isinstance(reply, AnyGenError):
        return Made(caption=text, media={}, error=reply.code)
    shown = dict(zip(GENERATED, (reply.images, reply.audios, reply.videos), strict=True))
    return Made(caption=text, media={m: s[0] for m, s in shown.items() if s}, error=None)
