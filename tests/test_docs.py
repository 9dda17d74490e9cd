"""What the documentation shows is what the program takes: commands parse, code compiles, links lead on."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import anygen
from anygen.app.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    found = ((page, match) for page in PAGES for match in BLOCK.finditer(page.read_text()))
    return [(str(page.relative_to(ROOT)), match[2]) for page, match in found if match[1] == language]


def commands() -> list[tuple[str, str]]:
    lines = ((page, line) for page, block in blocks("bash") for line in block.splitlines())
    return [(page, line) for page, line in lines if line.startswith("anygen ")]


def test_there_is_something_to_check() -> None:
    assert len(commands()) > 10
    assert len(blocks("python")) > 5


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_parse(page: str, command: str) -> None:
    build_parser().parse_args(shlex.split(command, comments=True)[1:])


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_compiles_and_its_imports_exist(page: str, code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "anygen":
            assert {alias.name for alias in node.names} <= set(anygen.__all__)


def test_make_targets_exist() -> None:
    pattern = re.compile(r"(?:`|^)make ([a-z-]+)", re.MULTILINE)
    named = {name for page in PAGES for name in pattern.findall(page.read_text())}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_results_are_filled_between_the_marks() -> None:
    spec = importlib.util.spec_from_file_location("fill_results", ROOT / "docs" / "fill_results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bar = {
        "direction": "text-to-image",
        "group": "held_out",
        "modality": "image",
        "what": "pair",
        "least": 0.85,
    }
    bar |= {"share": 0.9, "low": 0.85, "high": 0.94, "count": 200, "passed": True}
    toybox = {"suite": "toybox", "bars": [bar], "model": "m", "count": 200, "seed": 0}
    row = {"share": 0.9, "low": 0.85, "high": 0.94, "count": 200, "chance": 0.5, "bound": None}
    rows = {"seen": {"size": row}, "held_out": {}}
    emergent = {"suite": "emergent-alignment", "modalities": {"audio": rows}, "count": 200, "seed": 0}
    reports = [toybox, emergent]
    readme = (ROOT / "README.md").read_text()
    once = module.filled(readme, reports)
    assert "| text-to-image | held out | image | pair 90.0 [85.0, 94.0] | 200 |" in once
    assert "| audio | seen | size | 90.0 [85.0, 94.0] | 200 | 50.0 | - |" in once
    assert module.filled(once, reports) == once
    assert once.partition("<!-- results:begin")[0] == readme.partition("<!-- results:begin")[0]
    assert once.partition("results:end -->")[2] == readme.partition("results:end -->")[2]
    with pytest.raises(SystemExit, match="expected both marks"):
        module.filled("nothing", reports)
