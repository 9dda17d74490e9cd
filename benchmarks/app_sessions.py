"""Put the app's engine under the load of many sessions, kill it, and compare it with the bare pipeline.

    python benchmarks/app_sessions.py --json app_sessions.json

Prints one line a bar. Times on a busy machine say little: beside every time stands the processor time of the
engine, which is about what a quiet machine with one core for it would take.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.app.engine.client import EngineClient
from anygen.app.engine.types import (
    Busy,
    Done,
    Failed,
    GenerateRequest,
    Limits,
    MediaFinished,
    MediaProgress,
    MediaStarted,
    TextDelta,
    Ticket,
)
from anygen.errors import BadArgument

TICKS = os.sysconf("SC_CLK_TCK")
BARE = """
import json, sys, time
from anygen.pipelines.any_to_any import AnyGenPipeline
pipe = AnyGenPipeline.from_pretrained(sys.argv[1])
ask = lambda seed: list(pipe.stream("Draw a large red circle.", outputs=["text", "image"], seed=seed))
ask(0)
wall, cpu = time.perf_counter(), time.process_time()
ask(1)
print(json.dumps({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured bar."""

    what: str
    """What was measured."""
    value: float
    """What came out."""
    unit: str
    """Its unit."""
    bar: str
    """What was wanted."""
    passed: bool | None
    """Whether it holds; None where the machine decides."""


def resident(pid: int | str = "self") -> int:
    """Bytes of a process in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor(pid: int | None) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def question(session: str, words: str, **options: Any) -> GenerateRequest:
    """One question in words."""
    return GenerateRequest(session=session, conversation=[{"role": "user", "content": words}], **options)


def submit(client: EngineClient, request: GenerateRequest) -> Ticket:
    """Submit what must be taken."""
    taken = client.submit(request)
    assert isinstance(taken, Ticket), taken
    return taken


def load(client: EngineClient, sessions: int, requests: int, steps: int) -> list[Row]:
    """All sessions ask at once, then as many more as make 200 try."""
    short = {"max_new_tokens": 12}
    media = {"num_inference_steps": steps}
    ends: dict[str, list[Any]] = {}
    made: dict[str, list[str]] = {}
    before, base = resident(), client.status()
    barrier = threading.Barrier(sessions + 1)

    def visit(name: str) -> None:
        tickets = [
            submit(
                client,
                question(name, "Draw a red circle.", outputs=("image",), image_options=media, seed=number)
                if number == 0
                else question(name, "What can you draw?", text_options=short),
            )
            for number in range(requests)
        ]
        barrier.wait()
        for ticket in tickets:
            events = list(client.follow(ticket))
            ends.setdefault(name, []).append(events[-1])
            made.setdefault(name, []).extend(e.media_id for e in events if isinstance(e, MediaFinished))

    threads = [threading.Thread(target=visit, args=(f"visitor-{n}",)) for n in range(sessions)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    barrier.wait()
    late = [client.submit(question(f"late-{n}", "Hello")) for n in range(sessions, 200)]
    polite = [answer for answer in late if isinstance(answer, Busy) and answer.ahead > 0]
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    answered = sum(isinstance(end, Done) for all_ends in ends.values() for end in all_ends)
    seen = sum(
        _sees(client, other, media_id) for name, ids in made.items() for media_id in ids
        for other in made if other != name
    )  # fmt: skip
    grown = (resident() - before) / sessions / 2**20
    status = client.status()
    return [
        Row(what=f"answers of {sessions} sessions", value=answered, unit="answers",
            bar=f"{sessions * requests}", passed=answered == sessions * requests),
        Row(what="seconds for all of them", value=seconds, unit="s", bar="-", passed=None),
        Row(what="media of others seen", value=seen, unit="media", bar="0", passed=seen == 0),
        Row(what=f"polite answers to sessions {sessions + 1} to 200", value=len(polite), unit="answers",
            bar=f"{200 - sessions}", passed=len(polite) == 200 - sessions),
        Row(what="growth of the app a session", value=grown, unit="MiB", bar="< 3", passed=grown < 3),
        Row(what="engine restarts meanwhile", value=status.restarts - base.restarts, unit="restarts", bar="0",
            passed=status.pid == base.pid),
        Row(what="memory of the app", value=resident() / 2**20, unit="MiB", bar="-", passed=None),
        Row(what="memory of the engine", value=status.rss_bytes / 2**20, unit="MiB", bar="-", passed=None),
    ]  # fmt: skip


def _sees(client: EngineClient, session: str, media_id: str) -> bool:
    try:
        client.workspace.find(session, media_id)
    except BadArgument:
        return False
    return True


def image(client: EngineClient, model: str) -> list[Row]:
    """One image with all its steps, in the engine and in the bare pipeline right after."""
    pid = client.status().pid
    first = 0.0
    wall, cpu = time.perf_counter(), processor(pid)
    request = question("one", "Draw a large red circle.", outputs=("text", "image"), seed=1)
    for event in client.follow(submit(client, request)):
        if isinstance(event, TextDelta) and not first:
            first, first_cpu = time.perf_counter() - wall, processor(pid) - cpu
    seconds, used = time.perf_counter() - wall, processor(pid) - cpu
    command = [sys.executable, "-c", BARE, model]
    bare = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    ratio = used / bare["cpu"]
    return [
        Row(what="first token", value=first, unit="s", bar="< 1.5 (quiet)", passed=first < 1.5 or None),
        Row(what="first token, processor", value=first_cpu, unit="s", bar="< 1.5", passed=first_cpu < 1.5),
        Row(what="image", value=seconds, unit="s", bar="< 4 (quiet)", passed=seconds < 4 or None),
        Row(what="image, processor", value=used, unit="s", bar="< 4", passed=used < 4),
        Row(what="image, bare pipeline", value=bare["seconds"], unit="s", bar="-", passed=None),
        Row(what="image, engine / bare pipeline, processor", value=ratio, unit="x", bar="-", passed=None),
    ]


def video(client: EngineClient) -> list[Row]:
    """The longest time without a new preview while a video is made."""
    pid = client.status().pid
    gaps, shares, last = [], [], (0.0, 0.0)
    request = question("one", "Film a red circle moving left.", outputs=("video",), seed=1)
    for event in client.follow(submit(client, request)):
        now = (time.perf_counter(), processor(pid))
        if isinstance(event, MediaProgress):
            gaps.append(now[0] - last[0])
            shares.append(now[1] - last[1])
        if isinstance(event, MediaProgress | MediaStarted):
            last = now
    used = max(shares)
    return [
        Row(what="longest wait for a preview", value=max(gaps), unit="s", bar="< 1 (quiet)",
            passed=max(gaps) < 1 or None),
        Row(what="longest wait for a preview, processor", value=used, unit="s", bar="< 1", passed=used < 1),
    ]  # fmt: skip


def kill(client: EngineClient) -> list[Row]:
    """Kill the engine in the middle of a request and ask again."""
    long = {"num_inference_steps": 500}
    end: Any = None
    for event in client.follow(
        submit(client, question("one", "Draw.", outputs=("image",), image_options=long))
    ):
        if isinstance(event, MediaProgress) and event.step == 2:
            start = time.perf_counter()
            os.kill(client.status().pid or 0, signal.SIGKILL)
        end = event
    told = time.perf_counter() - start
    short = {"max_new_tokens": 4}
    after = list(client.follow(submit(client, question("one", "Hello", text_options=short))))[-1]
    seconds = time.perf_counter() - start
    fine = isinstance(end, Failed) and isinstance(after, Done)
    return [
        Row(what="kill -9: the request says so after", value=told, unit="s", bar="-", passed=fine),
        Row(what="kill -9: the next is answered after", value=seconds, unit="s", bar="< 10",
            passed=fine and (seconds < 10 or None)),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="toybox-tiny")
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of the images of the load")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    limits = Limits(sessions=arguments.sessions, requests=arguments.requests, spare_after=5)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, EngineClient(arguments.model, folder, limits) as client:
        start = time.perf_counter()
        client.wait_ready(900)
        rows.append(Row(what="start", value=time.perf_counter() - start, unit="s", bar="-", passed=None))
        for measure in (
            lambda: load(client, arguments.sessions, arguments.requests, arguments.steps),
            lambda: image(client, arguments.model),
            lambda: video(client),
            lambda: kill(client),
        ):
            for row in measure():
                rows.append(row)
                mark = {True: "ok", False: "MISSED", None: ""}[row.passed]
                line = f"{row.what:<45} {row.value:>9.2f} {row.unit:<9} {row.bar:<14} {mark}"
                sys.stdout.write(f"{line.rstrip()}\n")
                sys.stdout.flush()
    loaded = "torch" in sys.modules
    sys.stdout.write(f"the app itself has {'' if loaded else 'not '}loaded torch\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
