"""Time whole processes and warm requests, and find the peak of resident memory.

    python benchmarks/processes.py --json processes.json

Every figure is the least of its runs: other work on the machine only ever adds. Beside the wall time stands
the processor time of the process, which other work hardly touches.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM = """
import json, resource, sys, time
from anygen import AnyGenPipeline
pipe = AnyGenPipeline.from_pretrained(sys.argv[1])
wording = {"image": "Show me a small red star", "audio": "Play the sound of a large ring",
           "video": "Film a blue square moving left"}
found = {}
for name, words in wording.items():
    runs = []
    for seed in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        pipe(words, outputs=[name], seed=seed)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    found[name] = [min(column) for column in zip(*runs)]
found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(found))
"""


def process(command: list[str], runs: int) -> list[float]:
    """Least wall and processor seconds of a command."""
    found = []
    for _ in range(runs):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - start, cpu))
    return [min(column) for column in zip(*found, strict=True)]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toybox-tiny")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    anygen = str(Path(sys.executable).with_name("anygen"))
    with tempfile.TemporaryDirectory() as folder:
        ask = ["generate", "Show me a small red star", "--output", "image", "--quiet", "--out", folder]
        report = {
            "anygen --help": process([anygen, "--help"], options.runs),
            "import anygen": process([sys.executable, "-c", "import anygen"], options.runs),
            "anygen generate, an image": process([anygen, *ask, "--model", options.model], options.runs),
        }
    warm = subprocess.run(
        [sys.executable, "-c", WARM, options.model],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    found = json.loads(warm.stdout)
    peak = found.pop("peak_mib")
    report |= {f"text to {name}, warm": seconds for name, seconds in found.items()}
    for name, (wall, cpu) in report.items():
        print(f"{name:28} {wall:7.2f} s wall, {cpu:7.2f} s processor")
    print(f"{'peak resident memory':28} {peak:7.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps(report | {"peak_mib": peak}, indent=1))


if __name__ == "__main__":
    main()
