"""The toybox suite: real requests through the public pipeline, graded by the oracles."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from anygen.config import unknown_name
from anygen.errors import AnyGenError, BadArgument
from anygen.modality import GENERATED, Modality
from anygen.toybox.dialogues import DIRECTIONS, EVAL_DIRECTIONS
from anygen.toybox.oracles import read

from .statistics import Tally
from .toybox_bars import HELD_OUT_COUNTED, PAIR, PRESENT, Group, check_bars
from .toybox_requests import Request, build_request

SUITE_DIRECTIONS: tuple[str, ...] = (*EVAL_DIRECTIONS, "outside")
"""What is graded unless told otherwise."""

PROTOCOL = (
    "Requests are drawn from the evaluation split of the dialogues (which has templates that training "
    "never hears), media are rendered clean at default sizes, each request has its own fixed seed, "
    "settings are the pipeline's defaults and no output is forced. The analytic oracles read the "
    "first medium of each modality that was asked for. An attribute counts when it was asked and the "
    "modality can show it; a missing medium or an error makes all of it wrong. Intervals are Wilson's "
    "at 95%. Held-out pairs of shape and color are in no training sample of any stage."
)
"""How the figures come about."""

_MAX_FAILURES = 12


class Reply(Protocol):
    """What the suite reads of an answer."""

    text: str
    images: Sequence[Any]
    audios: Sequence[Any]
    videos: Sequence[Any]


class Pipeline(Protocol):
    """What the suite calls."""

    def __call__(self, conversations: list[Any], /, *, seed: Sequence[int]) -> Sequence[Any]:
        """Answer a batch of conversations."""


@dataclass
class _Scores:
    """Figures of one direction and group."""

    requests: int = 0
    present: Tally = field(default_factory=Tally)
    nothing_else: Tally = field(default_factory=Tally)
    same_words: Tally = field(default_factory=Tally)
    presence: dict[Modality, Tally] = field(default_factory=dict)
    media: dict[Modality, dict[str, Tally]] = field(default_factory=dict)
    said: dict[str, Tally] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            PRESENT: self.present.as_dict(),
            "nothing_else": self.nothing_else.as_dict(),
            "same_words": self.same_words.as_dict(),
            "presence": {str(m): tally.as_dict() for m, tally in self.presence.items()},
            "media": {str(m): _as_dicts(tallies) for m, tallies in self.media.items()},
            "said": _as_dicts(self.said),
            "errors": self.errors,
            "failures": self.failures,
        }


def _as_dicts(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    return {name: tally.as_dict() for name, tally in tallies.items()}


def run_toybox_suite(
    pipe: Pipeline,
    *,
    directions: Sequence[str] | None = None,
    count: int = 200,
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Grade a pipeline.

    Args:
        pipe: Called as `pipe([conversation, ...], seed=[...])`; replies have text, images, audios and videos.
        directions: Some of `anygen.toybox.dialogues.DIRECTIONS`; None for `SUITE_DIRECTIONS`.
        count: Requests about seen pairs per direction; half as many about held-out ones where a bar counts.
        seed: Draws all requests and their seeds.
        batch_size: Conversations per call.
        progress: Told in words how far it is.

    Returns:
        A report for JSON: protocol, versions, figures by direction and group ("directions"), the rows of the
        table of requirements ("bars") and whether all of them passed.

    Raises:
        BadArgument: an unknown direction, or a count or batch size below 1.
    """
    chosen = tuple(directions) if directions else SUITE_DIRECTIONS
    for name in chosen:
        if name not in DIRECTIONS:
            raise BadArgument(unknown_name(name, DIRECTIONS, "a direction"))
    if count < 1 or batch_size < 1:
        raise BadArgument(f"Found count={count}, batch_size={batch_size}; expected at least 1 of each.")
    started = time.monotonic()
    figures: dict[str, dict[str, Any]] = {}
    model = None
    for name in chosen:
        groups: list[tuple[Group, int]] = [("seen", count)]
        if name in HELD_OUT_COUNTED:
            groups.append(("held_out", max(1, count // 2)))
        figures[name] = {}
        for group, number in groups:
            begun = time.monotonic()
            scores, said = _run_group(pipe, name, group, number, seed, batch_size, progress)
            model = model or said
            figures[name][group] = {**scores.as_dict(), "seconds": round(time.monotonic() - begun, 1)}
    bars = check_bars(figures)
    return {
        "suite": "toybox",
        "model": model,
        "protocol": PROTOCOL,
        "seed": seed,
        "count": count,
        "batch_size": batch_size,
        "versions": _versions(),
        "seconds": round(time.monotonic() - started, 1),
        "passed": all(row["passed"] for row in bars),
        "presence": _presence(figures),
        "bars": bars,
        "directions": figures,
    }


def _run_group(
    pipe: Pipeline,
    direction: str,
    group: Group,
    count: int,
    seed: int,
    batch_size: int,
    progress: Callable[[str], None] | None,
) -> tuple[_Scores, str | None]:
    """Ask and grade all requests of one direction and group; also the model's name as replies tell it."""
    scores = _Scores()
    model = None
    for start in range(0, count, batch_size):
        if progress is not None:
            progress(f"{direction} {group.replace('_', '-')} {start}/{count}")
        indices = range(start, min(start + batch_size, count))
        requests = [build_request(direction, i, seed=seed, held_out=group == "held_out") for i in indices]
        for request, reply in zip(requests, _ask(pipe, requests), strict=True):
            _score(scores, request, reply)
            model = model or getattr(reply, "model", None)
    return scores, model


def _ask(pipe: Pipeline, requests: Sequence[Request]) -> list[Reply | AnyGenError]:
    """Replies to a batch; where it fails, to every request alone, with the error in place of its reply."""
    try:
        return list(pipe([r.conversation for r in requests], seed=[r.seed for r in requests]))
    except AnyGenError as error:
        if len(requests) == 1:
            return [error]
    return [reply for request in requests for reply in _ask(pipe, [request])]


def _media(reply: Reply | AnyGenError) -> dict[Modality, Sequence[Any]]:
    if isinstance(reply, AnyGenError):
        return dict.fromkeys(GENERATED, ())
    return {Modality.IMAGE: reply.images, Modality.AUDIO: reply.audios, Modality.VIDEO: reply.videos}


def _score(scores: _Scores, request: Request, reply: Reply | AnyGenError) -> None:
    """Count one answer."""
    scores.requests += 1
    shown = _media(reply)
    text = "" if isinstance(reply, AnyGenError) else reply.text
    if isinstance(reply, AnyGenError):
        scores.errors[reply.code] = scores.errors.get(reply.code, 0) + 1
    there = {m: bool(shown[m]) for m in request.outputs}
    for modality, is_there in there.items():
        scores.presence.setdefault(modality, Tally()).add(is_there)
    scores.present.add(all(there.values()) and not isinstance(reply, AnyGenError))
    scores.nothing_else.add(all(len(shown[m]) == (m in request.outputs) for m in GENERATED))
    scores.same_words.add(text == request.answer)
    found: dict[str, Any] = {}
    right = True
    for modality, attributes in request.asked.items():
        medium = text if modality is Modality.TEXT else next(iter(shown[modality]), None)
        reading = {} if medium is None else read(modality, medium)
        found[str(modality)] = {name: reading.get(name) for name in attributes}
        tallies = scores.media.setdefault(modality, {})
        right &= _count(tallies, attributes, reading)
    named = {name: value for attributes in request.asked.values() for name, value in attributes.items()}
    spoken = read(Modality.TEXT, text)
    for name, value in named.items():
        scores.said.setdefault(name, Tally()).add(spoken.get(name) == value)
    if not (right and all(there.values())) and len(scores.failures) < _MAX_FAILURES:
        error = f"{reply.code}: {reply}" if isinstance(reply, AnyGenError) else None
        asked = {str(m): dict(attributes) for m, attributes in request.asked.items()}
        failure = {
            "request": request.text,
            "seed": request.seed,
            "asked": asked,
            "found": found,
            "text": text,
        }
        scores.failures.append({**failure, "error": error} if error else failure)


def _count(tallies: dict[str, Tally], asked: Mapping[str, str], reading: Mapping[str, str | None]) -> bool:
    """Count one medium's attributes, their conjunction, and the pair of shape and color."""
    hits = {name: reading.get(name) == value for name, value in asked.items()}
    for name, hit in hits.items():
        tallies.setdefault(name, Tally()).add(hit)
    if {"shape", "color"} <= set(hits):
        tallies.setdefault(PAIR, Tally()).add(hits["shape"] and hits["color"])
    tallies.setdefault("all", Tally()).add(all(hits.values()))
    return all(hits.values())


def _presence(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How often a requested medium was there, over all directions."""
    total = Tally()
    for groups in figures.values():
        for scores in groups.values():
            for tally in scores["presence"].values():
                total.right += tally["right"]
                total.count += tally["count"]
    return total.as_dict()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("anygen-multimodal", "torch", "transformers", "diffusers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def format_report(report: Mapping[str, Any]) -> str:
    """The report as a table for a terminal: figures by direction, then the requirements with pass or miss."""
    asked = f"{report['count']} requests a direction, seed {report['seed']}"
    lines = [f"toybox suite, model {report['model']}, {asked}"]
    for direction, groups in report["directions"].items():
        for group, scores in groups.items():
            lines += _group_lines(direction, group, scores)
    lines.append("")
    for row in report["bars"]:
        verdict = "pass" if row["passed"] else "MISS"
        what = f"{row['modality'] or 'answer'} {row['what']}"
        interval = f"[{_percent(row['low'])}, {_percent(row['high'])}] of {row['count']}"
        lines.append(
            f"{verdict}  {row['direction']:<20} {row['group']:<9} {what:<18} "
            f"{_percent(row['share'])} {interval}, at least {_percent(row['least'])}"
        )
    presence = report["presence"]
    lines.append(f"requested media present: {presence['right']} of {presence['count']}")
    passed = sum(row["passed"] for row in report["bars"])
    lines.append(f"{passed} of {len(report['bars'])} requirements met in {report['seconds']:.0f} s")
    return "\n".join(lines)


def _group_lines(direction: str, group: str, scores: Mapping[str, Any]) -> Iterable[str]:
    head = f"{direction} ({group}): present {_percent(scores[PRESENT]['share'])}"
    head += f", same words {_percent(scores['same_words']['share'])}"
    if scores["errors"]:
        head += f", errors {scores['errors']}"
    yield head
    for modality, tallies in scores["media"].items():
        shares = "  ".join(f"{name} {_percent(tally['share'])}" for name, tally in tallies.items())
        yield f"    {modality:<6} {shares}"


def _percent(share: float | None) -> str:
    return "   -  " if share is None else f"{100 * share:5.1f}%"
