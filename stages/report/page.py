"""The page: charts drawn by a script that travels inside it, tables and samples as plain HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from anygen.errors import AnyGenError, BadArgument

from ..run_folder import write_text
from . import media
from .runs import Run, read_run

COLOURS = ("#2f6fde", "#d9622b", "#2b9a66", "#9a4fc0", "#c2334f", "#8a6d1f", "#188a9b", "#6b7280")
"""One a run, told apart by most eyes; more runs begin again."""
MAX_EVALUATIONS = 6
"""Evaluations of a run that show samples: the first, the last, and some between."""
TOP = ("samples_per_second", "memory_mb", "grad_norm", "lr")
TITLES = {
    "grad_norm": "gradient norm",
    "samples_per_second": "samples / s",
    "memory_mb": "memory, MB",
    "lr": "learning rate",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "img-src data:",
        "media-src data:",
    )
)
"""What the page may load: itself."""


def write_report(folders: Sequence[Path], out: Path) -> None:
    """Write one HTML file about runs, overlaid; it asks nothing of any network.

    Args:
        folders: run folders.
        out: the file.

    Raises:
        BadArgument: no run, a folder without metrics, or a place that cannot be written.
    """
    if not folders:
        raise BadArgument("Found no run, expected the folder of at least one.")
    runs = [read_run(Path(folder)) for folder in folders]
    names = unique([run.name for run in runs])
    if not out.parent.is_dir():
        raise BadArgument(f"Found no folder for {out.name}, expected one that exists; make it first.")
    try:
        write_text(out, render(runs, names))
    except OSError as error:
        raise BadArgument(
            f"Found no way to write {out.name} ({error.strerror}); name another place."
        ) from None


def unique(names: Sequence[str]) -> list[str]:
    """Names told apart by a number where several are the same."""
    counts = dict.fromkeys(names, 0)
    found = []
    for name in names:
        counts[name] += 1
        found.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return found


def render(runs: Sequence[Run], names: Sequence[str]) -> str:
    """The page's HTML.

    Args:
        runs: what to show.
        names: what to call them.
    """
    assets = files(__package__)
    sections = [
        _header(runs, names),
        _summary(runs, names),
        "<section><h2>Curves</h2>" + CONTROLS + "<div id='charts'></div></section>",
        _scores(runs, names),
        _trainable(runs, names),
        _samples(runs, names),
    ]
    data = json.dumps(chart_data(runs, names)).replace("<", "\\u003c")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html.escape(', '.join(names))}</title>"
        f"<style>{(assets / 'page.css').read_text()}</style></head><body><main>"
        + "".join(sections)
        + f"</main><script type='application/json' id='data'>{data}</script>"
        f"<script>{(assets / 'page.js').read_text()}</script></body></html>\n"
    )


CONTROLS = (
    "<div class='controls'><label>over <select id='axis'><option value='step'>steps</option>"
    "<option value='hours'>hours</option></select></label>"
    "<label>smoothing <input id='smooth' type='range' min='0' max='0.98' step='0.02' value='0.6'></label>"
    "<label><input id='log' type='checkbox'> logarithmic</label></div>"
)


def chart_data(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """What the script draws: one chart a figure, one curve a run."""
    figures = dict.fromkeys(
        name for run in runs for name, points in run.curves.items() if _drawn(name, points)
    )
    order = sorted(figures, key=_rank)
    charts = [
        {
            "title": TITLES.get(name, name),
            "kind": "score" if name.startswith("eval/") else "train",
            "curves": [
                {"run": i, "points": [[p[0], round(p[1], 5), p[2]] for p in run.curves[name]]}
                for i, run in enumerate(runs)
                if _drawn(name, run.curves.get(name, []))
            ],
        }
        for name in order
    ]
    described = [{"name": n, "colour": COLOURS[i % len(COLOURS)]} for i, n in enumerate(names)]
    return {"runs": described, "charts": charts}


def _drawn(name: str, points: Sequence[Any]) -> bool:
    return len(points) > 1 or (len(points) == 1 and not name.startswith("eval/"))


def _rank(name: str) -> tuple[int, str]:
    groups = (name == "loss", name.startswith("eval/"), name in TOP)
    return ((0, 3, 2)[groups.index(True)] if any(groups) else 1, name)


def _chip(index: int, name: str) -> str:
    colour = COLOURS[index % len(COLOURS)]
    return f"<span class='chip' style='--c:{colour}'></span>{html.escape(name)}"


def _header(runs: Sequence[Run], names: Sequence[str]) -> str:
    boxes = "".join(
        f"<label class='run'><input type='checkbox' checked data-run='{i}'>{_chip(i, name)}</label>"
        for i, name in enumerate(names)
    )
    stages = ", ".join(dict.fromkeys(str(run.config.get("stage", "run")) for run in runs))
    return f"<header><h1>{html.escape(stages)}</h1><nav>{boxes}</nav></header>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _last(run: Run, name: str, form: str) -> str:
    points = run.curves.get(name)
    return format(points[-1][2], form) if points else "-"


def _summary(runs: Sequence[Run], names: Sequence[str]) -> str:
    head = ("run", "step", "hours", "loss", "samples / s", "memory, MB", "trainable", "state")
    rows = []
    for index, (run, name) in enumerate(zip(runs, names, strict=True)):
        parts = run.config.get("parts", {}).values()
        trainable, total = sum(p["trainable"] for p in parts), sum(p["parameters"] for p in parts)
        hours = max((points[-1][1] for points in run.curves.values()), default=0.0)
        share = f"{trainable:,} ({100 * trainable / total:.2f} %)" if total else "-"
        steps = run.config.get("steps")
        rows.append(
            (
                _chip(index, name),
                f"{run.step:,}" + (f" of {steps:,}" if steps else ""),
                f"{hours:.2f}",
                _last(run, "loss", ".4g"),
                _last(run, "samples_per_second", ",.1f"),
                _last(run, "memory_mb", ",.0f"),
                share,
                "finished" if run.summary else "not finished",
            )
        )
    return f"<section>{_table(head, rows)}</section>"


def _scores(runs: Sequence[Run], names: Sequence[str]) -> str:
    every = dict.fromkeys(score for run in runs for score in run.scores)
    if not every:
        return ""
    head = ("score", *(_chip(i, name) for i, name in enumerate(names)))
    rows = [
        (html.escape(score), *(f"{run.scores[score]:.4g}" if score in run.scores else "-" for run in runs))
        for score in every
    ]
    return f"<section><h2>Last evaluation</h2>{_table(head, rows)}</section>"


def _trainable(runs: Sequence[Run], names: Sequence[str]) -> str:
    tables = []
    for index, (run, name) in enumerate(zip(runs, names, strict=True)):
        parts = run.config.get("parts", {})
        rows = [
            (
                html.escape(part),
                f"{row['parameters']:,}",
                f"{row['trainable']:,}" if row["trainable"] else "frozen",
                f"{100 * row['trainable'] / max(1, row['parameters']):.1f} %" if row["trainable"] else "",
            )
            for part, row in parts.items()
        ]
        if rows:
            table = _table(("part", "parameters", "trainable", "share"), rows)
            tables.append(f"<details open><summary>{_chip(index, name)}</summary>{table}</details>")
    return f"<section><h2>What trains</h2>{''.join(tables)}</section>" if tables else ""


def _samples(runs: Sequence[Run], names: Sequence[str]) -> str:
    blocks = []
    for index, (run, name) in enumerate(zip(runs, names, strict=True)):
        steps = _some(sorted(run.samples))
        for step in reversed(steps):
            groups = dict.fromkeys(entry["group"] for entry in run.samples[step])
            grids = "".join(_grid(group, run.samples[step]) for group in groups)
            opened = " open" if step == steps[-1] else ""
            title = f"{_chip(index, name)} at step {step:,}"
            blocks.append(f"<details{opened}><summary>{title}</summary>{grids}</details>")
    return f"<section><h2>Samples</h2>{''.join(blocks)}</section>" if blocks else ""


def _some(steps: list[int]) -> list[int]:
    if len(steps) <= MAX_EVALUATIONS:
        return steps
    last = len(steps) - 1
    return [steps[round(i * last / (MAX_EVALUATIONS - 1))] for i in range(MAX_EVALUATIONS)]


def _grid(group: str, entries: Sequence[dict[str, str]]) -> str:
    figures = "".join(_figure(entry) for entry in entries if entry["group"] == group)
    return f"<h3>{html.escape(group)}</h3><div class='grid'>{figures}</div>"


def _figure(entry: dict[str, str]) -> str:
    path, text = Path(entry["path"]), html.escape(entry["text"], quote=True)
    try:
        if entry["modality"] == "audio":
            shown = f"<img class='sound' alt='{text}' src='{media.spectrogram(path)}'>"
            shown += f"<audio controls preload='none' src='{media.sound(path)}'></audio>"
        elif entry["modality"] == "video":
            shown = f"<img class='film' alt='{text}' src='{media.film_strip(path)}'>"
        else:
            shown = f"<img alt='{text}' src='{media.picture(path)}'>"
    except (AnyGenError, OSError) as error:
        shown = f"<p class='lost'>{html.escape(str(error))}</p>"
    return f"<figure class='{html.escape(entry['modality'])}'>{shown}<figcaption>{text}</figcaption></figure>"
