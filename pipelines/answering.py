"""How requests are answered: encode, generate, project, decode, each over the whole batch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from anygen.checkpoints.lazy import Decoders
from anygen.config import AnyGenConfig, GenerationConfig
from anygen.errors import AnyGenError, LimitExceeded, NonFinite, OutOfMemory
from anygen.generation import Answer, SignalGroup, generate
from anygen.generation import Event as TextEvent
from anygen.generation import TextDelta as RowDelta
from anygen.messages import MediaPart, Message, TextPart
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.prompting import Prompt, PromptBuilder

from .encoded import EncodedMedia
from .events import Done, Event, MediaFinished, MediaProgress, MediaStarted, TextDelta
from .media_inputs import as_turns, encode_slots
from .options import derived_seed
from .overlap import side_by_side
from .reply import Reply

Use = Callable[[str], contextlib.AbstractContextManager[None]]
"""Holds a part, named as in the model folder, in memory for a computation."""


def keep(part: str) -> contextlib.AbstractContextManager[None]:
    """Hold nothing: every part stays in memory anyway."""
    return contextlib.nullcontext()


Report = Callable[[Event], None]
"""Takes the events of one request."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Checked requests of one call."""

    conversations: list[list[Message]]
    """Parsed conversations that end with the user."""
    seeds: list[int]
    """One for each."""
    outputs: tuple[Modality, ...]
    """What every answer must have; empty leaves it to the model."""
    text: GenerationConfig
    """Options of text generation."""
    media: dict[Modality, dict[str, Any]]
    """Options of every decoder."""


@dataclass(frozen=True, kw_only=True)
class _Group:
    """One image, sound or video to make."""

    row: int
    """Which request."""
    index: int
    """Position of the part in the answer."""
    signal: SignalGroup
    """What the language model meant."""
    seed: int
    """Seed of its noise."""


_Made = dict[tuple[int, int], tuple[MediaPart, dict[str, Any]]]
"""Media and their settings, by row and by index of the part."""


class Answering:
    """Answers checked requests.

    Args:
        model: language model, projections, lazy encoder.
        tokenizer: the language model's.
        config: names, sizes and defaults.
        decoders: what makes images, audio and video.
        batch_size: requests, media or groups that go through a part at once; a quarter of it for videos.
        use: entered around every computation of the language model and of a decoder, with its name.
    """

    def __init__(
        self,
        model: AnyGenModel,
        tokenizer: Any,
        config: AnyGenConfig,
        decoders: Decoders,
        *,
        batch_size: int,
        use: Use = keep,
    ) -> None:
        self._model, self._config, self._decoders = model, config, decoders
        self._use = use
        self._batch_size = batch_size
        self.encoded = EncodedMedia()
        """What the encoder said of media before."""
        self._builder = PromptBuilder(
            tokenizer,
            model.tokens,
            template=config.chat_template,
            num_slot_tokens=config.input_projection.num_tokens,
            context_length=config.llm.context_length,
        )

    def answer(
        self, request: Request, *, report: Report | None = None, should_stop: Callable[[], bool]
    ) -> list[Reply]:
        """Answer all requests.

        Args:
            request: what to answer.
            report: takes the events, of a single request.
            should_stop: asked between steps.

        Returns:
            One reply for each conversation.

        Raises:
            AnyGenError: see `AnyGenPipeline.__call__`.
        """
        seconds: Counter[str] = Counter()
        with torch.inference_mode(), _memory_errors():
            prompts = [self._builder.encode(as_turns(c, self._available)) for c in request.conversations]
            answers: list[Answer] = []
            for start in range(0, len(prompts), self._batch_size):
                chunk = slice(start, start + self._batch_size)
                answers += self._generate(request, prompts, chunk, seconds, report, should_stop)
            made = self._decode(request, answers, seconds, report, should_stop)
        replies = [self._reply(request, row, answer, made, seconds) for row, answer in enumerate(answers)]
        if report is not None:
            report(Done(reply=replies[0]))
        return replies

    @property
    def _available(self) -> list[Modality]:
        return [m for m in self._model.generated if m in self._config.decoders]

    def _generate(
        self,
        request: Request,
        prompts: Sequence[Prompt],
        chunk: slice,
        seconds: Counter[str],
        report: Report | None,
        should_stop: Callable[[], bool],
    ) -> list[Answer]:
        batch = self._builder.collate(prompts[chunk], side="left")
        with _timed(seconds, "encode"):
            vectors = encode_slots(self._model, batch.slots, batch_size=self._batch_size, known=self.encoded)
        with _timed(seconds, "text"), self._use("llm"):
            return generate(
                self._model,
                self._builder,
                batch,
                on_event=None if report is None else _Deltas(report),
                media_vectors=vectors,
                options=request.text,
                outputs=[request.outputs or None] * len(prompts[chunk]),
                available=self._available,
                lead_ins=self._config.lead_ins,
                seeds=[derived_seed(seed, "text") for seed in request.seeds[chunk]],
                should_stop=should_stop,
            )

    def _decode(
        self,
        request: Request,
        answers: Sequence[Answer],
        seconds: Counter[str],
        report: Report | None,
        should_stop: Callable[[], bool],
    ) -> _Made:
        """Make all media, each modality together. Returns by row and part index the part and its settings."""
        groups = _groups(answers, request.seeds)
        wanted: dict[Modality, list[_Group]] = {}
        for group in groups:
            wanted.setdefault(group.signal.modality, []).append(group)
        report = None if report is None else _one_at_a_time(report)
        tasks = [
            partial(self._make, request, modality, some, seconds, report) for modality, some in wanted.items()
        ]
        device = self._model.device
        found = side_by_side(tasks, should_stop, device=device, apart=self._overlaps(device))
        return {place: part for made in found for place, part in made.items()}

    def _overlaps(self, device: torch.device) -> bool:
        """Whether the decoders of an answer run side by side: on CUDA, where all of them stay in memory."""
        return device.type == "cuda" and self._use is keep

    def _make(
        self,
        request: Request,
        modality: Modality,
        wanted: Sequence[_Group],
        seconds: Counter[str],
        report: Report | None,
        should_stop: Callable[[], bool],
    ) -> _Made:
        """Make all media of a modality, batch by batch."""
        made: _Made = {}
        size = max(1, self._batch_size // 4) if modality is Modality.VIDEO else self._batch_size
        with _timed(seconds, modality.value), self._use(f"decoders/{modality.value}"):
            for start in range(0, len(wanted), size):
                chunk = wanted[start : start + size]
                media, settings = self._run_decoder(request, modality, chunk, report, should_stop)
                for group, medium in zip(chunk, media, strict=True):
                    part = MediaPart(modality, medium)
                    made[group.row, group.index] = (part, {"Seed": request.seeds[group.row], **settings})
                    if report is not None:
                        report(MediaFinished(modality=modality, index=group.index, part=part))
        return made

    def _run_decoder(
        self,
        request: Request,
        modality: Modality,
        groups: Sequence[_Group],
        report: Report | None,
        should_stop: Callable[[], bool],
    ) -> tuple[list[Any], dict[str, Any]]:
        embeds = self._model.project(
            modality,
            torch.stack([group.signal.signal_states for group in groups]),
            torch.stack([group.signal.signal_embeds for group in groups]),
        )
        if not torch.isfinite(embeds).all():
            raise NonFinite(
                f"The {modality.value} projection gave NaN or infinity; load the model with dtype float32."
            )
        decoder, options = self._decoders[modality], request.media[modality]

        def on_step(event: Any) -> None:
            if report is None:
                return
            for place, group in enumerate(groups):
                report(
                    MediaProgress(
                        modality=modality,
                        index=group.index,
                        step=event.step,
                        total=event.total,
                        preview=partial(_preview, event, place),
                    )
                )

        if report is not None:
            for group in groups:
                report(MediaStarted(modality=modality, index=group.index))
        media = decoder(
            embeds,
            seeds=[group.seed for group in groups],
            on_step=on_step,
            should_stop=should_stop,
            **options,
        )
        defaults = decoder.parts.defaults
        names = {"Steps": "num_inference_steps", "Guidance": "guidance_scale"}
        return media, {label: options.get(n, getattr(defaults, n)) for label, n in names.items()}

    def _reply(
        self,
        request: Request,
        row: int,
        answer: Answer,
        made: _Made,
        seconds: Counter[str],
    ) -> Reply:
        parts: list[TextPart | MediaPart] = []
        settings: list[dict[str, Any]] = []
        part: TextPart | MediaPart
        setting: dict[str, Any]
        for index, piece in enumerate(answer.parts):
            if isinstance(piece, str):
                # a byte-level model can write NUL, which no message may hold
                part, setting = TextPart(piece.replace("\0", "\ufffd")), {}
            else:
                part, setting = made[row, index]
            parts.append(part)
            settings.append(setting)
        _check_outputs(parts, request.outputs)
        return Reply(
            parts=tuple(parts),
            model=self._config.name,
            seed=request.seeds[row],
            seconds=dict(seconds),
            settings=tuple(settings),
        )


class _Deltas:
    """Turns the events of text generation (of one row) into those of the pipeline, with positions."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._index = 0
        self._in_text = False

    def __call__(self, event: TextEvent) -> None:
        if isinstance(event, RowDelta):
            self._in_text = True
            self._report(TextDelta(text=event.text, index=self._index))
        elif isinstance(event, SignalGroup):
            self._index += 2 if self._in_text else 1
            self._in_text = False


def _one_at_a_time(report: Report) -> Report:
    """The same for several threads: whoever is second waits."""
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            report(event)

    return locked


def _groups(answers: Sequence[Answer], seeds: Sequence[int]) -> list[_Group]:
    """All media to make; the seed of each depends on its request, its modality and its number alone."""
    groups = []
    for row, answer in enumerate(answers):
        numbers: Counter[Modality] = Counter()
        for index, piece in enumerate(answer.parts):
            if isinstance(piece, SignalGroup):
                seed = derived_seed(seeds[row], piece.modality.value, numbers[piece.modality])
                numbers[piece.modality] += 1
                groups.append(_Group(row=row, index=index, signal=piece, seed=seed))
    return groups


def _check_outputs(parts: Sequence[TextPart | MediaPart], outputs: Sequence[Modality]) -> None:
    """Hold the guarantee of `outputs=`."""
    found = {part.modality if isinstance(part, MediaPart) else Modality.TEXT for part in parts}
    for modality in outputs:
        if modality not in found:
            raise LimitExceeded(
                f"The answer has no {modality.value} although `outputs` asks for it; raise max_new_tokens."
            )


@contextlib.contextmanager
def _timed(seconds: Counter[str], name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] += time.perf_counter() - start  # type: ignore[assignment]


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """Say that memory ran out in one way, wherever it did."""
    try:
        yield
    except AnyGenError:
        raise
    except (MemoryError, torch.OutOfMemoryError):
        raise OutOfMemory(_NO_MEMORY) from None
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error):
            raise OutOfMemory(_NO_MEMORY) from None
        raise


_NO_MEMORY = "Memory ran out; ask for smaller or fewer media, fewer requests at once, or use dtype bfloat16."


def _preview(event: Any, place: int) -> np.ndarray:
    """The state of one sample of a decoder's batch."""
    frames: list[np.ndarray] = event.preview()
    return frames[place]
