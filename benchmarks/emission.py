"""Ask for media a thousand times and count the answers that lack one.

    python benchmarks/emission.py --count 1000 --json emission.json

Requests are the toybox's, of every direction that answers with media, in wordings that training never saw.
Half name their outputs (`outputs=`), which is a guarantee; half leave the choice to the model, which is not,
and is reported beside it. One denoising step a medium: what it looks like does not matter here.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from anygen import AnyGenPipeline
from anygen.messages import MediaPart
from anygen.modality import GENERATED
from anygen.pipelines.reply import Reply
from anygen.stages.evaluation.toybox_requests import Request, build_request
from anygen.toybox.dialogues import DIRECTIONS

FEW = {f"{modality}_options": {"num_inference_steps": 1} for modality in GENERATED}
"""Options of the cheapest media."""


def requests(count: int, seed: int) -> list[Request]:
    """The first `count` requests whose answer has media, the directions in turn."""
    found: list[Request] = []
    index = 0
    while len(found) < count:
        made = (build_request(direction, index, seed=seed) for direction in DIRECTIONS)
        found += [request for request in made if request.outputs]
        index += 1
    return found[:count]


def lacking(reply: Reply, request: Request) -> list[str]:
    """Modalities that were asked for and are not there."""
    there = Counter(part.modality for part in reply.parts if isinstance(part, MediaPart))
    return [str(m) for m, wanted in Counter(request.outputs).items() if there[m] < wanted]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toybox-tiny")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pipe = AnyGenPipeline.from_pretrained(options.model)
    asked = requests(options.count, options.seed)
    report: dict[str, dict[str, object]] = {}
    for name, forced in (("outputs named", True), ("left to the model", False)):
        part = asked[0::2] if forced else asked[1::2]
        without: list[str] = []
        for request in part:
            outputs = ["text", *dict.fromkeys(str(m) for m in request.outputs)] if forced else None
            reply = pipe(request.conversation, outputs=outputs, seed=request.seed, **FEW)
            if lacking(reply, request):
                without.append(request.text)
        complete = len(part) - len(without)
        report[name] = {"requests": len(part), "complete": complete, "incomplete": without}
        print(f"{name}: {complete} of {len(part)} answers have all that was asked", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
