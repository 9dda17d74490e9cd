"""Write the scores of an `anygen eval toybox` report into README.md, between its results marks.

anygen eval toybox --model toybox-tiny --json report.json
python docs/fill_results.py report.json
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


def filled(readme: str, report: dict[str, Any]) -> str:
    """Put the table of a report between the marks of a README.

    Args:
        readme: text with the two marks.
        report: what `anygen eval toybox --json` wrote.

    Returns:
        The text with everything between the marks replaced.
    """
    head, mark, rest = readme.partition(BEGIN)
    if not mark or END not in rest:
        raise SystemExit(f"Found no {BEGIN} ... {END} in the README, expected both marks; put them back.")
    first_line = rest.partition("\n")[0]
    passed, total = sum(bar["passed"] for bar in report["bars"]), len(report["bars"])
    command = (
        f"anygen eval toybox --model {report['model']} --count {report['count']} --seed {report['seed']}"
    )
    words = (
        f"Share of the attributes asked for that the oracle reads back, printed by `{command}`; "
        f"{passed} of {total} of the suite's requirements are met. `pair` is shape and color both right."
    )
    return f"{head}{mark}{first_line}\n{words}\n\n{table(report)}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Fill README.md from the report that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit("Found no report, expected one: python docs/fill_results.py REPORT.json")
    report = json.loads(Path(sys.argv[1]).read_text())
    README.write_text(filled(README.read_text(), report))


if __name__ == "__main__":
    main()
