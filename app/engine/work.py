"""What the engine process does with a request. Importing this loads torch and the model code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from anygen.checkpoints.inspection import inspect_model
from anygen.errors import BadArgument, MissingPart
from anygen.errors import Cancelled as Stopped
from anygen.media import load_media
from anygen.messages import TextPart
from anygen.modality import GENERATED, MEDIA_INPUTS, Modality
from anygen.pipelines import events
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.blending import stream_blend
from anygen.pipelines.options import LARGEST_SEED, request_seeds

from ..media_tags import InputTag
from .history import open_stream
from .outputs import Making, OutputWriter
from .previews import Previews
from .types import (
    Answer,
    BlendRequest,
    Cancelled,
    Done,
    EmbedRequest,
    Event,
    GenerateRequest,
    MediaFinished,
    MediaStarted,
    Part,
    Started,
    TextDelta,
    media_part,
)
from .workspace import Workspace

Report = Callable[[Event], None]
"""Takes the events of a request."""

WARM_PARAMETERS = 1_000_000_000
"""Largest model whose decoders and towers are read before a request needs them."""


class Engine:
    """The model and what is done with it.

    Args:
        pipe: the model.
        name: what the user called it.
        workspace: where media lie.
        preview_seconds: shortest time between two previews of one medium.
    """

    def __init__(
        self, pipe: AnyGenPipeline, name: str, workspace: Workspace, *, preview_seconds: float
    ) -> None:
        self._pipe, self._workspace = pipe, workspace
        self._preview_seconds = preview_seconds
        self._writer = OutputWriter(pipe, workspace)
        self._parts = inspect_model(name)
        self._small = sum(part.parameters for part in self._parts) <= WARM_PARAMETERS

    @classmethod
    def load(cls, order: Mapping[str, Any]) -> Engine:
        """Load what an order names.

        Args:
            order: model, device, dtype, workspace and preview_seconds.

        Returns:
            The engine.

        Raises:
            AnyGenError: as `AnyGenPipeline.from_pretrained`.
        """
        pipe = AnyGenPipeline.from_pretrained(order["model"], device=order["device"], dtype=order["dtype"])
        workspace = Workspace(order["workspace"])
        return cls(pipe, order["model"], workspace, preview_seconds=order["preview_seconds"])

    def facts(self) -> dict[str, Any]:
        """About the model; see `EngineStatus.facts`."""
        config, device = self._pipe.config, self._pipe.model.device
        encoder = config.encoder if self._pipe.model.encoder is not None else None
        embeds = [] if encoder is None else [m.value for m in encoder.modalities]
        options = {m.value: self._writer.defaults(m) for m in config.decoders} if self._small else {}
        return {
            "name": config.name,
            "description": config.description,
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "threads": torch.get_num_threads(),
            "dtype": str(next(self._pipe.model.parameters()).dtype).removeprefix("torch."),
            "parameters": sum(part.parameters for part in self._parts),
            "trainable": sum(part.trainable for part in self._parts),
            "inputs": ["text", *(m.value for m in MEDIA_INPUTS if m.value in embeds)],
            "outputs": ["text", *(m.value for m in GENERATED if m in config.decoders)],
            "embeds": embeds,
            "embed_dim": 0 if encoder is None else encoder.embed_dim,
            "options": {"text": asdict(config.generation), **options},
            "parts": [asdict(part) for part in self._parts],
            "licences": sorted({part.licence for part in self._parts if part.licence}),
        }

    def warm_ups(self, wanted: Callable[[], bool]) -> list[Callable[[], None]]:
        """What to do while nobody asks, so that first requests are as fast as later ones.

        Args:
            wanted: asked between steps; says whether somebody asks now.

        Returns:
            Steps; one that is interrupted is not done again.
        """
        if not self._small:
            return []
        steps: list[Callable[[], None]] = [
            partial(self._warm_decoder, m, wanted) for m in GENERATED if m in self._pipe.config.decoders
        ]
        return [*steps, self._warm_encoder]

    def _warm_decoder(self, modality: Modality, wanted: Callable[[], bool]) -> None:
        options: dict[str, Any] = {f"{modality.value}_options": {"num_inference_steps": 2}}
        self._pipe("Hello", outputs=[modality], seed=0, max_new_tokens=8, cancel=wanted, **options)

    def _warm_encoder(self) -> None:
        self._encode([{"type": "text", "text": "red"}], "", lambda: False)
        self._encode_one(Modality.IMAGE, Image.new("RGB", (32, 32)))

    def run(self, ticket: str, request: Any, report: Report, stop: Callable[[], bool]) -> None:
        """Work on a request and report what happens, `Done` or `Cancelled` included.

        Args:
            ticket: its id.
            request: what to do.
            report: takes the events.
            stop: asked between steps.

        Raises:
            AnyGenError: it cannot be done.
        """
        start = time.perf_counter()
        report(Started())
        try:
            if isinstance(request, EmbedRequest):
                done = Done(vectors=self._encode(request.items, request.session, stop).tolist())
            elif isinstance(request, BlendRequest):
                done = self._blend(ticket, request, report, stop)
            else:
                done = self._generate(ticket, request, report, stop)
        except Stopped:
            report(Cancelled())
            return
        report(replace(done, seconds=time.perf_counter() - start))

    def _generate(
        self, ticket: str, request: GenerateRequest, report: Report, stop: Callable[[], bool]
    ) -> Done:
        conversation = [self._message(message, request.session) for message in request.conversation]
        asked = _last_parts(request.conversation)
        options = {m: dict(getattr(request, f"{m.value}_options")) for m in GENERATED}
        first = request_seeds(request.seed, 1)[0]
        answers: list[Answer] = []
        times: dict[str, float] = {}
        left_out = 0
        previews = Previews(self._workspace, request.session, ticket, self._preview_seconds)
        for variation in range(request.variations):
            making = Making(
                session=request.session,
                seed=(first + variation) % (LARGEST_SEED + 1),
                variation=variation,
                outputs=request.outputs or (),
                inputs=tuple(InputTag(modality=Modality(p["type"])) for p in asked if p["type"] != "text"),
                prompt=_prompt(asked) if request.remember_prompt else None,
                text_options=dict(request.text_options),
                media_options=options,
            )
            left_out, stream = open_stream(
                self._pipe,
                conversation,
                outputs=request.outputs,
                seed=making.seed,
                **{f"{m.value}_options": given for m, given in options.items() if given},
                **request.text_options,
            )
            answer, seconds = self._follow(stream, making, previews, report, stop)
            answers.append(answer)
            times = {name: times.get(name, 0.0) + value for name, value in seconds.items()}
        return Done(answers=answers, times=times, left_out=left_out)

    def _blend(self, ticket: str, request: BlendRequest, report: Report, stop: Callable[[], bool]) -> Done:
        vectors = self._encode(request.items, request.session, stop)
        output = Modality(request.output)
        making = Making(
            session=request.session,
            seed=request_seeds(request.seed, 1)[0],
            outputs=(request.output,),
            inputs=tuple(
                InputTag(
                    modality=Modality(item["type"]),
                    weight=weight,
                    text=item.get("text") if request.remember_prompt else None,
                )
                for item, weight in zip(request.items, request.weights, strict=True)
            ),
            blended=True,
            prompt=request.text if request.remember_prompt else None,
            text_options={},
            media_options={output: dict(request.options)},
        )
        stream = stream_blend(
            self._pipe,
            vectors,
            request.weights,
            output=output,
            text=request.text,
            seed=making.seed,
            options=request.options,
        )
        previews = Previews(self._workspace, request.session, ticket, self._preview_seconds)
        answer, times = self._follow(stream, making, previews, report, stop)
        return Done(answers=[answer], times=times)

    def _follow(
        self,
        stream: Iterator[events.Event],
        making: Making,
        previews: Previews,
        report: Report,
        stop: Callable[[], bool],
    ) -> tuple[Answer, dict[str, float]]:
        """Hand events on, write what gets finished. Returns the answer and what its steps took."""
        finished: dict[int, MediaFinished] = {}
        variation = making.variation
        try:
            for event in stream:
                if isinstance(event, events.Done):
                    return _answer(event, finished), dict(event.reply.seconds)
                if isinstance(event, events.TextDelta):
                    report(TextDelta(text=event.text, index=event.index, variation=variation))
                elif isinstance(event, events.MediaStarted):
                    previews.started(variation, event.index)
                    report(
                        MediaStarted(modality=event.modality.value, index=event.index, variation=variation)
                    )
                elif isinstance(event, events.MediaProgress):
                    report(previews.progress(event, variation))
                elif isinstance(event, events.MediaFinished):
                    finished[event.index] = self._writer.write(event.part, event.index, making)
                    report(finished[event.index])
                if stop():
                    raise Stopped("The request was stopped.")
        finally:
            stream.close()  # type: ignore[attr-defined]
        raise Stopped("The request ended without an answer.")

    def _message(self, message: Mapping[str, Any], session: str) -> dict[str, Any]:
        """A message with paths in place of ids."""
        content = message["content"]
        if not isinstance(content, str):
            content = [self._part(part, session) for part in content]
        return {"role": message["role"], "content": content}

    def _part(self, part: Part, session: str) -> dict[str, Any]:
        if part["type"] == "text":
            return {"type": "text", "text": part["text"]}
        return {"type": part["type"], "path": str(self._workspace.find(session, part["media_id"]).path)}

    def _encode(self, items: list[Part], session: str, stop: Callable[[], bool]) -> torch.Tensor:
        """(N, D) unit vectors of texts and media."""
        vectors = []
        for item in items:
            if stop():
                raise Stopped("The request was stopped.")
            if item["type"] == "text":
                vectors.append(self._encode_one(Modality.TEXT, TextPart(item["text"]).text))
                continue
            modality = Modality(item["type"])
            path = self._workspace.find(session, item["media_id"]).path
            vectors.append(self._encode_one(modality, load_media(modality, path, self._pipe.limits)))
        return torch.cat(vectors)

    def _encode_one(self, modality: Modality, item: Any) -> torch.Tensor:
        encoder = self._pipe.model.encoder
        if encoder is None:
            raise MissingPart("The model has no encoder, so it cannot compare or mix; load another model.")
        with torch.inference_mode():
            vectors: torch.Tensor = encoder.encode(modality, encoder.prepare(modality, [item])).float().cpu()
        if not torch.isfinite(vectors).all():
            raise BadArgument(f"The encoder gave NaN for {modality.value}; load the model in float32.")
        return vectors


def _last_parts(conversation: list[dict[str, Any]]) -> list[Part]:
    content = conversation[-1]["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _prompt(parts: list[Part]) -> str:
    return " ".join(part["text"] for part in parts if part["type"] == "text")


def _answer(done: events.Done, finished: Mapping[int, MediaFinished]) -> Answer:
    parts: list[Part] = []
    for index, part in enumerate(done.reply.parts):
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        else:
            parts.append(media_part(finished[index]))
    return Answer(parts=parts, seed=done.reply.seed)
