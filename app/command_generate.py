"""`anygen generate`: one answer to one prompt, its media as files."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from anygen.errors import AnyGenError, BadText
from anygen.modality import GENERATED

from .common import (
    SUFFIXES,
    Command,
    Progress,
    add_media_arguments,
    add_model_arguments,
    clean_stdout,
    load_pipeline,
    note,
    number,
    output_modalities,
    prepare_folder,
    print_json,
    printable,
    without_collection,
    write_whole,
)

if TYPE_CHECKING:
    from anygen.pipelines.any_to_any import AnyGenPipeline
    from anygen.pipelines.reply import Reply


_SIGNAL = re.compile(r"\[(?:IMG|VID|AUD)\d+\]|</?Img>")
"""What the model writes to itself and nobody else should (`anygen.tokens`)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("prompt", metavar="PROMPT", help="what to ask")
    add_media_arguments(parser)
    parser.add_argument(
        "--output",
        type=output_modalities,
        metavar="M,M",
        help="what the answer must have, of text,image,audio,video (default: the model decides)",
    )
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), metavar="N", help="fixes all that is drawn")
    parser.add_argument("--steps", type=number(int, 1), metavar="N", help="denoising steps of every decoder")
    parser.add_argument("--guidance", type=number(float, 0), metavar="X", help="guidance of every decoder")
    parser.add_argument(
        "--out", type=Path, default=Path("."), metavar="DIR", help="where files go (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    parser.add_argument(
        "--embed-prompt", action="store_true", help="write the prompt into the files' metadata"
    )
    parser.add_argument(
        "--memory-budget", metavar="SIZE", help="most memory to use, such as 12GiB; shows the plan"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Answer, write the files, print the result.

    Args:
        arguments: as declared above.
    """
    with clean_stdout() as stdout:
        prepare_folder(arguments.out)
        conversation = _conversation(arguments)
        start = time.perf_counter()
        pipe = load_pipeline(arguments)
        loaded = time.perf_counter()
        with without_collection():  # the decoders' libraries are imported here
            reply = _answer(pipe, conversation, arguments)
        answered = time.perf_counter()
        parts = _write_parts(reply, arguments)
        seconds = {
            "load": loaded - start,
            **reply.seconds,
            "write": time.perf_counter() - answered,
            "total": time.perf_counter() - start,
        }
        if arguments.json:
            result = {
                "text": reply.text,
                "parts": parts,
                "model": arguments.model,
                "seed": reply.seed,
                "seconds": {name: round(value, 3) for name, value in seconds.items()},
            }
            print_json(result, stdout)
        else:
            _print_parts(parts, stdout)
            note(arguments, f"seed {reply.seed}, {seconds['total']:.1f} s")


def _conversation(arguments: argparse.Namespace) -> list[Any]:
    """Read the media first, so that a bad file is reported before the model is loaded."""
    from anygen.media import load_media
    from anygen.messages import MediaPart, Message, TextPart

    typed = _SIGNAL.search(arguments.prompt)
    if typed:
        # the library takes it as plain characters; on the command line it is a mistake worth telling
        raise BadText(f"Found {typed[0]} in the prompt, expected plain words; ask with --output instead.")
    media = [MediaPart(modality, load_media(modality, file)) for modality, file in arguments.media]
    text = [TextPart(arguments.prompt)] if arguments.prompt.strip() or not media else []
    return [Message("user", (*media, *text))]


def _answer(pipe: AnyGenPipeline, conversation: list[Any], arguments: argparse.Namespace) -> Reply:
    from anygen.pipelines import events

    settings = {"num_inference_steps": arguments.steps, "guidance_scale": arguments.guidance}
    options = {name: value for name, value in settings.items() if value is not None}
    media_options: dict[str, Any] = {f"{m.value}_options": options for m in GENERATED}
    progress = Progress(quiet=arguments.quiet)
    stream = pipe.stream(
        conversation,
        outputs=arguments.output,
        seed=arguments.seed,
        **media_options,
    )
    try:
        for event in stream:
            if isinstance(event, events.MediaProgress):
                progress.show(f"{event.modality.value}: step {event.step} of {event.total}")
            elif isinstance(event, events.Done):
                return event.reply
    finally:
        progress.clear()
    raise AnyGenError("The model ended without an answer; report this.")


def _write_parts(reply: Reply, arguments: argparse.Namespace) -> list[dict[str, str]]:
    from anygen.media import save_media
    from anygen.messages import TextPart

    metadata = reply.provenance(prompt=arguments.prompt if arguments.embed_prompt else None)
    files, parts = [], []
    for position, part in enumerate(reply.parts, start=1):
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
            continue
        name = f"{position}-{part.modality.value}{SUFFIXES[part.modality]}"
        parts.append({"type": part.modality.value, "path": ""})
        tags = metadata[position - 1]

        def write(path: Path, media: Any = part.media, tags: dict[str, str] = tags) -> None:
            save_media(media, path, metadata=tags)

        files.append((arguments.out / name, write))
    paths = iter(write_whole(files))
    return [part if "text" in part else {**part, "path": str(next(paths))} for part in parts]


def _print_parts(parts: list[dict[str, str]], stdout: TextIO) -> None:
    for part in parts:
        line = printable(part["text"].strip()) if "text" in part else f"{part['type']}: {part['path']}"
        stdout.write(f"{line}\n")
    stdout.flush()


GENERATE = Command(
    name="generate",
    help="answer a prompt with text, images, audio and video",
    add_arguments=add_arguments,
    run=run,
)
