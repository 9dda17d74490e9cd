"""Answer real mixed inputs with a bundled model, through the command line and through Python.

`make demo` runs `python examples/demo.py --out demo [--model NAME] [--seed N]`. It writes what the model
makes and a contact sheet of it all, and prints one line about each file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from contact_sheet import Exchange, Item, save_contact_sheet

from anygen import Audio, MediaPart, Modality, Video, load_media, save_media
from anygen.app.common import quiet_libraries
from anygen.toybox import caption, read

INPUTS = Path(__file__).resolve().parent / "inputs"
PICTURE, SOUND = INPUTS / "red-star.png", INPUTS / "rising-ring.wav"

MIXED = "Draw the sound in the color of the picture"
"""Asked on the command line, of the picture and the sound together."""
EDIT = "Draw it in blue"
"""Asked in Python, of the sound alone: the shape and the size are what it sounds like."""
FOLLOW_UP = "Now play its sound and make a video of it moving left"
"""Asked in the same conversation, of the model's own picture."""

SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}


def main() -> int:
    """Run the demo and return an exit status."""
    parser = argparse.ArgumentParser(description="anygen's demo: mixed inputs in, mixed outputs out.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results")
    parser.add_argument("--model", default="toybox-tiny", help="bundled name, local folder or hub id")
    parser.add_argument("--seed", type=int, default=0, help="fixes everything that is drawn")
    arguments = parser.parse_args()
    start = time.perf_counter()
    exchanges = [ask_command_line(arguments), *ask_python(arguments)]
    sheet = arguments.out / "contact-sheet.png"
    subtitle = f"Any mix in, any mix out: {arguments.model}, seed {arguments.seed}. Gray: oracle readings."
    save_contact_sheet(exchanges, sheet, title="anygen", subtitle=subtitle)
    print(f"{sheet}: everything above on one page ({time.perf_counter() - start:.0f} s in all)")
    return 0


def ask_command_line(arguments: argparse.Namespace) -> Exchange:
    """Ask `anygen generate` for an image, a sound and a video of a picture, a sound and a text."""
    folder = arguments.out / "command-line"
    command = ["generate", MIXED, "--image", _shown(PICTURE), "--audio", _shown(SOUND)]
    command += ["--output", "image,audio,video", "--model", arguments.model, "--seed", str(arguments.seed)]
    command += ["--out", str(folder), "--json"]
    print(f"$ anygen {shlex.join(command)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "anygen.app.cli", *command, "--quiet"], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    answer = json.loads(done.stdout)
    outputs = [Path(part["path"]) for part in answer["parts"] if "path" in part]
    return Exchange(
        title="anygen generate, on the command line",
        prompt=MIXED,
        inputs=[_item(PICTURE), _item(SOUND)],
        answer=answer["text"],
        outputs=_reported(outputs),
    )


def ask_python(arguments: argparse.Namespace) -> list[Exchange]:
    """Ask `AnyGenPipeline` what a sound looks like, then go on talking about the picture."""
    folder = arguments.out / "python"
    folder.mkdir(parents=True, exist_ok=True)
    quiet_libraries()  # reads the environment of libraries, so it comes before they are imported
    from anygen import AnyGenPipeline

    print(f"\n>>> pipe = AnyGenPipeline.from_pretrained({arguments.model!r})", flush=True)
    pipe = AnyGenPipeline.from_pretrained(arguments.model)
    conversation: list[Any] = []
    exchanges: list[Exchange] = []
    files: list[Path] = []
    turns: list[tuple[str, list[Path], list[str]]] = [
        (EDIT, [SOUND], ["image"]),
        (FOLLOW_UP, [], ["audio", "video"]),
    ]
    for number, (prompt, attached, outputs) in enumerate(turns, start=1):
        content: list[dict[str, Any]] = [{"type": "audio", "audio": path} for path in attached]
        conversation.append({"role": "user", "content": [*content, {"type": "text", "text": prompt}]})
        print(f">>> pipe(conversation, {outputs=}, seed={arguments.seed})  # {prompt}", flush=True)
        reply = pipe(conversation, outputs=outputs, seed=arguments.seed)
        conversation.append(reply.message)
        files_before, files = files, []
        media = [part for part in reply.parts if isinstance(part, MediaPart)]
        for part in media:
            files.append(folder / f"{number}-{part.modality.value}{SUFFIXES[part.modality]}")
            save_media(part.media, files[-1])
        exchanges.append(
            Exchange(
                title="AnyGenPipeline, in Python" if number == 1 else "The same conversation, one turn on",
                prompt=prompt,
                inputs=[_item(path) for path in attached or files_before],
                answer=reply.text,
                outputs=_reported(files),
            )
        )
    return exchanges


def _reported(files: list[Path]) -> list[Item]:
    items = [_item(path) for path in files]
    for path, item in zip(files, items, strict=True):
        print(f"{path}: {item.note}, {item.measures}")
    return items


def _item(path: Path) -> Item:
    """Load a file back and say what is in it: its measures, and what the toybox's oracle reads."""
    modality = next(m for m, suffix in SUFFIXES.items() if suffix == path.suffix)
    media = load_media(modality, path)
    if isinstance(media, Audio):
        measures = f"{media.duration:.1f} s at {media.sample_rate / 1000:g} kHz"
    elif isinstance(media, Video):
        measures = f"{len(media.frames)} frames at {media.fps:g} fps"
    else:
        measures = f"{media.width} x {media.height}"
    seen = {name: value for name, value in read(modality, media).items() if value is not None}
    note = caption(seen) if seen else "nothing the oracle can read"
    return Item(media=media, name=path.name, measures=measures, note=note)


def _shown(path: Path) -> str:
    """The path as a user would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    raise SystemExit(main())
