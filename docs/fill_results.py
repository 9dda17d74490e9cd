"""Write the scores that `anygen eval` reported into README.md, between its results marks.

Usage: `python docs/fill_results.py toybox.json emergent.json`, with the files that `anygen eval toybox
--json F` and `anygen eval emergent --json F` wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- results:begin", "<!-- results:end -->"
GROUPS = {"seen": "seen", "held_out": "held out"}


def table(report: dict[str, Any]) -> str:
    """Format a report as a Markdown table: one row for every direction, group and graded medium."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for bar in report["bars"]:
        key = (bar["direction"], GROUPS[bar["group"]], bar["modality"] or "all three")
        share, low, high = (100 * bar[name] for name in ("share", "low", "high"))
        rows.setdefault(key, []).append(f"{bar['what']} {share:.1f} [{low:.1f}, {high:.1f}]")
        counts[key] = max(counts.get(key, 0), bar["count"])
    lines = ["| direction | pairs | graded | right, % [95% interval] | n |", "|---|---|---|---|---|"]
    for key, cells in rows.items():
        lines.append(f"| {' | '.join(key)} | {'; '.join(cells)} | {counts[key]} |")
    return "\n".join(lines)


def emergent_table(report: dict[str, Any]) -> str:
    """Format a report on emergent alignment: one row for every modality, group and attribute."""
    lines = ["| modality | pairs | attribute | right, % [95% interval] | n | chance, % | paired bound, % |"]
    lines.append("|---|---|---|---|---|---|---|")
    for modality, rows in report["modalities"].items():
        for group, label in GROUPS.items():
            for name, row in rows[group].items():
                share, low, high, chance = (_percent(row[key]) for key in ("share", "low", "high", "chance"))
                cells = (modality, label, name, f"{share} [{low}, {high}]", str(row["count"]), chance)
                lines.append(f"| {' | '.join(cells)} | {_percent(row['bound'])} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def section(report: dict[str, Any]) -> str:
    """Say what a report of either suite found, with the command that prints it."""
    asked = f"--count {report['count']} --seed {report['seed']}"
    if report["suite"] == "emergent-alignment":
        words = (
            "Emergent alignment: zero-shot classification by cosine between text and modalities that were "
            f"never paired with it, printed by `anygen eval emergent {asked}`; the bound is that of images."
        )
        return f"{words}\n\n{emergent_table(report)}"
    passed, total = sum(bar["passed"] for bar in report["bars"]), len(report["bars"])
    words = (
        "Share of the attributes asked for that the oracle reads back, printed by "
        f"`anygen eval toybox --model {report['model']} {asked}`; {passed} of {total} of the suite's "
        "requirements are met. `pair` is shape and color both right."
    )
    return f"{words}\n\n{table(report)}"


def joined(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one report of those that asked the same of different directions."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, report in enumerate(reports):
        alike = "bars" in report
        key = (report["suite"], report["model"], report["count"], report["seed"]) if alike else (number,)
        if key in found:
            found[key]["bars"] += report["bars"]
        else:
            found[key] = {**report, "bars": list(report["bars"])} if alike else report
    return list(found.values())


def filled(readme: str, reports: list[dict[str, Any]]) -> str:
    """Put the tables of reports between the marks of a README.

    Args:
        readme: text with the two marks.
        reports: what `anygen eval SUITE --json` wrote.

    Returns:
        The text with everything between the marks replaced.
    """
    head, mark, rest = readme.partition(BEGIN)
    if not mark or END not in rest:
        raise SystemExit(f"Found no {BEGIN} ... {END} in the README, expected both marks; put them back.")
    first_line = rest.partition("\n")[0]
    sections = "\n\n".join(section(report) for report in joined(reports))
    return f"{head}{mark}{first_line}\n{sections}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Fill README.md from the reports that the command line names."""
    if len(sys.argv) < 2:
        raise SystemExit("Found no report, expected: python docs/fill_results.py toybox.json emergent.json")
    reports = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    README.write_text(filled(README.read_text(), reports))


if __name__ == "__main__":
    main()
