"""Time the app as a visitor feels it, in Chromium: first word, finished image, and previews of a video.

    python benchmarks/app_wall.py --json app_wall.json

Starts the app, asks on the chat page and watches the page change. Wall times hold on a quiet machine alone;
beside each stands the processor time that engine, server and browser used meanwhile, all together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from app_driver import OPTIONS, PATIENCE, SAID, ChatPage, Server, find_chromium, free_port, visiting  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
FIRST_SECONDS, IMAGE_SECONDS, PREVIEW_SECONDS = 1.5, 4.0, 1.0

WATCH = """said => {
  window.first = window.image = window.bar = window.done = 0; window.previews = [];
  window.began = performance.now();
  const now = () => (performance.now() - window.began) / 1000;
  const old = document.querySelectorAll('[class*="st-key-answer_"]').length;
  window.watching?.disconnect();
  window.watching = new MutationObserver(() => {
    const live = document.querySelector('[class*="st-key-growing_"]');
    const words = [...(live?.querySelectorAll(said) ?? [])].map(e => e.innerText.trim()).join(' ');
    if (!window.first && words && !['Starting', 'Thinking'].includes(words)) window.first = now();
    if (!window.bar && live?.querySelector('[data-testid=stProgress]')) window.bar = now();
    const preview = live?.querySelector('.ag-preview')?.src;
    const last = window.previews.at(-1);
    if (preview && preview !== last?.[0]) window.previews.push([preview, now()]);
    const answers = document.querySelectorAll('[class*="st-key-answer_"]');
    if (answers.length <= old) return;
    const picture = answers[answers.length - 1].querySelector('[data-testid=stImage] img');
    window.first ||= now();
    window.done ||= now();
    if (!window.image && picture?.complete && picture.naturalWidth) window.image = now();
    picture?.addEventListener('load', () => { window.image ||= now(); });
  });
  window.watching.observe(document.body,
    { subtree: true, childList: true, characterData: true, attributes: true });
}"""
"""Notes the seconds until the first word, the first bar, every preview, the end and the finished image."""


def processor_seconds(root: int) -> float:
    """Processor time of a process and all that it started, the ended ones included."""
    spent: dict[int, float] = {}
    parents: dict[int, int] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(place.name)] = int(fields[1])
            spent[int(place.name)] = sum(int(value) for value in fields[11:15]) / TICKS
    mine, found = {root}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in mine} - mine
        mine |= found
    return sum(spent.get(pid, 0.0) for pid in mine)


def asked(chat: ChatPage, words: str, count: int) -> dict[str, Any]:
    """Ask, wait for the answer, and tell what was noted.

    Args:
        chat: an open chat page.
        words: the message.
        count: answers that the chat has then.

    Returns:
        Seconds until the first word, the image and what was shown; processor seconds of the first and of all.
    """
    before = processor_seconds(os.getpid())
    chat.page.evaluate(WATCH, SAID)
    chat.ask(words)
    chat.page.wait_for_function("window.first > 0", timeout=3 * PATIENCE)
    begun = processor_seconds(os.getpid()) - before
    chat.wait_answers(count)
    noted = chat.page.evaluate(
        """() => ({ first: window.first, image: window.image,
          shown: [window.bar, ...window.previews.map(p => p[1]), window.done] })"""
    )
    return {**noted, "begun": begun, "processor": processor_seconds(os.getpid()) - before}


def measure(chat: ChatPage, runs: int) -> list[tuple[str, float, float, float]]:
    """Ask for images and videos.

    Args:
        chat: an open chat page.
        runs: of each.

    Returns:
        What, median wall seconds, median processor seconds and the bar.
    """
    ring, film = "Show me a picture of a large blue ring", "Make a video of a large green square moving left"
    images = [asked(chat, ring, number + 1) for number in range(runs)]
    chat.choose_outputs("Video")
    videos = []
    for number in range(runs):
        noted = asked(chat, film, runs + number + 1)
        shown = noted["shown"]  # the bar, the previews, the finished video
        gap = max(late - early for early, late in zip(shown, shown[1:], strict=False))
        videos.append({"gap": gap, "used": noted["processor"] / (len(shown) - 1)})
    rows = [(images, "first", "begun"), (images, "image", "processor"), (videos, "gap", "used")]
    bars = {
        "first word after Enter": FIRST_SECONDS,
        "finished image after Enter": IMAGE_SECONDS,
        "longest wait for a preview": PREVIEW_SECONDS,
    }
    return [
        (what, median(n[wall] for n in made), median(n[used] for n in made), bar)
        for (what, bar), (made, wall, used) in zip(bars.items(), rows, strict=True)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(folder=Path(folder), port=free_port())
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(OPTIONS))
        server.start()
        try:
            with visiting(server, browser) as chat:
                chat.open()
                chat.page.get_by_text("The engine is ready").wait_for(timeout=3 * PATIENCE)
                time.sleep(5)  # the engine warms its decoders up while nobody asks
                rows = measure(chat, arguments.runs)
        finally:
            browser.close()
            server.stop()
    for what, wall, used, bar in rows:
        verdict = "ok" if wall < bar else "MISSED, or the machine is busy"
        print(f"{what:<28} {wall:6.2f} s wall {used:6.2f} s processor  bar < {bar:g} s  {verdict}")
    if arguments.json:
        names = ("what", "wall", "processor", "bar")
        arguments.json.write_text(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1))


if __name__ == "__main__":
    main()
