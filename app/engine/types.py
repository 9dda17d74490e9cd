"""What the pages and the engine say to each other: small dataclasses that are JSON, never media or tensors.

Media travel as ids (`image-0f3a...`); the files lie in the workspace (`anygen.app.engine.workspace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Part = dict[str, Any]
"""`{"type": "text", "text": ...}` or `{"type": "image", "media_id": ...}`; a medium's type is its modality.
Parts may have further keys (settings, captions): the engine hands them on and reads none of them."""


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """A conversation to answer."""

    session: str
    """Whose request it is; only media of this session can be named."""
    conversation: list[dict[str, Any]]
    """`[{"role": "user", "content": [Part, ...]}, ...]`, ending with the user."""
    outputs: tuple[str, ...] | None = None
    """Modalities that the answer must have, such as ("image",); None lets the model decide."""
    seed: int | None = None
    """Fixes all that is drawn; None draws one, which `Done.seed` tells."""
    text_options: dict[str, Any] = field(default_factory=dict)
    """max_new_tokens, temperature, top_p, do_sample."""
    image_options: dict[str, Any] = field(default_factory=dict)
    """num_inference_steps, guidance_scale, height, width."""
    audio_options: dict[str, Any] = field(default_factory=dict)
    """num_inference_steps, guidance_scale, audio_length_in_s."""
    video_options: dict[str, Any] = field(default_factory=dict)
    """num_inference_steps, guidance_scale, height, width, num_frames."""
    variations: int = 1
    """Answers to make, one after another, with seeds seed, seed + 1, ..."""
    remember_prompt: bool = False
    """Whether the last user's text is written into the files that are made."""


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Texts and media whose vectors are wanted."""

    session: str
    """Whose request it is."""
    items: list[Part]
    """What to embed, at most `MOST_ITEMS`."""


@dataclass(frozen=True, kw_only=True)
class BlendRequest:
    """Texts and media whose weighted sum drives a decoder."""

    session: str
    """Whose request it is."""
    items: list[Part]
    """What to mix, at most `MOST_ITEMS`."""
    weights: list[float]
    """One for each item, -2 to 2; not all 0."""
    output: str = "image"
    """What to make: image, audio or video."""
    text: str = ""
    """Words to go with the blend; empty takes the engine's own request for `output`."""
    seed: int | None = None
    """As for `GenerateRequest`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the decoder of `output`."""
    remember_prompt: bool = False
    """Whether the texts are written into the file that is made."""


Request = GenerateRequest | EmbedRequest | BlendRequest
"""Whatever `EngineClient.submit` takes."""

MOST_ITEMS = 64
"""Most items of one embed or blend request."""
MOST_VARIATIONS = 8
"""Most variations of one request."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A request that was taken."""

    id: str
    """What to ask with."""
    session: str
    """Whose it is."""
    ahead: int
    """Requests that came before it in the queue when it was taken (0: it is next)."""


@dataclass(frozen=True, kw_only=True)
class Busy:
    """A request that was not taken because the queue is full; nothing is wrong, ask again later."""

    ahead: int
    """Requests in the queue."""
    sentence: str
    """What to show."""


@dataclass(frozen=True, kw_only=True)
class Queued:
    """The request waits; sent again whenever its position changes."""

    position: int
    """Requests that go first; 0 means that it is next."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """The engine works on the request."""


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """More text of the answer."""

    text: str
    """What to append to the part."""
    index: int = 0
    """Position of the part in the answer."""
    variation: int = 0
    """Which of the answers."""


@dataclass(frozen=True, kw_only=True)
class MediaStarted:
    """A decoder begins on one medium."""

    modality: str
    """image, audio or video."""
    index: int
    """Position of the part in the answer."""
    variation: int = 0
    """Which of the answers."""


@dataclass(frozen=True, kw_only=True)
class MediaProgress:
    """One denoising step is done."""

    modality: str
    """image, audio or video."""
    index: int
    """Position of the part in the answer."""
    step: int
    """Steps done, from 1."""
    total: int
    """Steps there will be."""
    seconds_left: float | None = None
    """Estimate for this medium; None while there is nothing to estimate from."""
    preview: str | None = None
    """Path of a PNG (for video an animated one), replaced in place by later ones; None before the first."""
    variation: int = 0
    """Which of the answers."""


@dataclass(frozen=True, kw_only=True)
class MediaFinished:
    """One medium is ready in the workspace."""

    modality: str
    """image, audio or video."""
    index: int
    """Position of the part in the answer."""
    media_id: str
    """Its id."""
    path: str
    """Its file."""
    mime: str
    """image/png, audio/wav or video/mp4."""
    settings: dict[str, Any] = field(default_factory=dict)
    """All that made it, as JSON of `anygen.app.media_tags.MediaTags`; also inside the file."""
    variation: int = 0
    """Which of the answers."""


def media_part(event: MediaFinished) -> Part:
    """The part of an answer that a finished medium is.

    Args:
        event: tells of it.

    Returns:
        Type, media_id, mime and settings.
    """
    return {
        "type": event.modality,
        "media_id": event.media_id,
        "mime": event.mime,
        "settings": event.settings,
    }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One complete answer."""

    parts: list[Part]
    """Text and media in order; a media part also has `settings`."""
    seed: int
    """Seed that it came from."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The request is answered; nothing follows."""

    answers: list[Answer] = field(default_factory=list)
    """One for each variation; empty for an embed request."""
    seconds: float = 0.0
    """Time that the engine worked on it."""
    times: dict[str, float] = field(default_factory=dict)
    """The same by step: encode, text, image, audio, video."""
    vectors: list[list[float]] = field(default_factory=list)
    """Unit vectors of an embed request, in its order."""
    left_out: int = 0
    """Oldest messages of the conversation that the model was not shown because it cannot read that many."""

    @property
    def parts(self) -> list[Part]:
        """Parts of the first answer."""
        return self.answers[0].parts if self.answers else []

    @property
    def seed(self) -> int | None:
        """Seed of the first answer."""
        return self.answers[0].seed if self.answers else None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The request cannot be answered; nothing follows."""

    sentence: str
    """What to show: found, expected, what to do."""
    code: str = "error"
    """Stable: that of an `AnyGenError`, or engine_died, deadline, waited_too_long, internal."""
    details: str = ""
    """For the details fold; may be empty."""
    parts: list[Part] = field(default_factory=list)
    """What was ready of the answer before."""


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The request was stopped; nothing follows."""

    parts: list[Part] = field(default_factory=list)
    """What was ready of the answer."""


Event = (
    Queued | Started | TextDelta | MediaStarted | MediaProgress | MediaFinished | Done | Failed | Cancelled
)
"""What `EngineClient.events` and `EngineClient.follow` give."""
FINAL = (Done, Failed, Cancelled)
"""Events after which nothing follows."""


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """How the engine is."""

    state: str
    """loading, ready, restarting, failed or closed."""
    message: str
    """One sentence for the user."""
    progress: float = 0.0
    """0 to 1 while loading."""
    queued: int = 0
    """Requests that wait."""
    running: str | None = None
    """Id of the ticket that is worked on."""
    sessions: int = 0
    """Sessions with a request that waits or runs."""
    rss_bytes: int = 0
    """Memory of the engine process."""
    restarts: int = 0
    """Times that the engine process was started again."""
    pid: int | None = None
    """Process id of the engine."""
    facts: dict[str, Any] = field(default_factory=dict)
    """About the model, once loaded: name, description, device, dtype, parameters, trainable, inputs, outputs,
    embeds, options (defaults by modality), parts (`anygen.checkpoints.inspection`), licences."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the queue and of the patience with requests."""

    sessions: int = 30
    """Most sessions that have a request waiting or running."""
    requests: int = 3
    """Most requests of one session that wait or run."""
    deadline_seconds: float = 600.0
    """Longest that the engine works on one request."""
    wait_seconds: float = 1800.0
    """Longest that a request waits."""
    stop_seconds: float = 20.0
    """Patience with an engine that was asked to stop a request; then it is started again."""
    heartbeat_seconds: float = 60.0
    """Longest silence of a living engine; then it is started again."""
    load_seconds: float = 900.0
    """Longest that the engine loads a model."""
    away_seconds: float = 20.0
    """Time after the last page of a session was closed (a lost connection is back by then) until its uploads,
    previews and tickets are removed; its media stay."""
    idle_seconds: float = 3600.0
    """The same for the silence of a session that has no pages."""
    keep_seconds: float = 600.0
    """Time for which the events of a finished request can be read again."""
    preview_seconds: float = 0.4
    """Shortest time between two previews of one medium."""
    spare_after: float = 10.0
    """Quiet seconds after which a second process loads its libraries (no model), to take over within moments
    when the engine dies; -1 for none."""
    deaths: int = 3
    """Deaths while loading in a row, after which the engine is not started again."""


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        GenerateRequest, EmbedRequest, BlendRequest, Queued, Started, TextDelta, MediaStarted, MediaProgress,
        MediaFinished, Done, Failed, Cancelled,
    )
}  # fmt: skip


def to_json(value: Request | Event) -> dict[str, Any]:
    """Write a request or an event as what `json.dumps` takes.

    Args:
        value: what to write.

    Returns:
        Its fields and its `kind`.
    """
    return {"kind": type(value).__name__, **asdict(value)}


def from_json(value: Mapping[str, Any]) -> Any:
    """Read what `to_json` wrote.

    Args:
        value: fields and `kind`.

    Returns:
        The request or event.

    Raises:
        KeyError: an unknown kind.
        TypeError: other fields than the kind has.
    """
    kind = _KINDS[value["kind"]]
    given = {name: value[name] for name in value if name != "kind"}
    if "answers" in given:
        given["answers"] = [Answer(**answer) for answer in given["answers"]]
    if given.get("outputs") is not None and "outputs" in {f.name for f in fields(kind)}:
        given["outputs"] = tuple(given["outputs"])
    return kind(**given)
