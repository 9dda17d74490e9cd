"""What ships is what is written down: packages, dependencies, pins, the bundle, and the wheel itself."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE_DIR: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
BUNDLE_LIMIT = 64 * 1024 * 1024
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "scipy", "av")


def source_files() -> list[Path]:
    return sorted(path for folder in PACKAGE_DIR.values() for path in (ROOT / folder).rglob("*.py"))


def requirements(lines: list[str]) -> set[str]:
    """Distribution names, normalised, without this project's own extras."""
    names = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines)
    return {_normalised(match.group()) for match in names if match} - {PROJECT["project"]["name"]}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_modules(files: list[Path]) -> set[str]:
    """Top-level modules that the files import by an absolute name, at any depth of the code."""
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found


def declared_anywhere() -> set[str]:
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    return {name for lines in groups for name in requirements(lines)}


def imported_distributions(files: list[Path]) -> set[str]:
    owners = importlib.metadata.packages_distributions()
    modules = imported_modules(files) - set(sys.stdlib_module_names) - {"anygen"}
    return {_normalised(name) for module in modules for name in owners.get(module, [module])}


def test_packages_list_is_the_tree() -> None:
    tree = set()
    for package, folder in PACKAGE_DIR.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            below = init.parent.relative_to(ROOT / folder).parts
            tree.add(".".join((package, *below)))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == tree


def test_every_folder_with_code_is_a_package() -> None:
    assert [path for path in source_files() if not (path.parent / "__init__.py").exists()] == []


def test_runtime_imports_are_declared_and_declared_are_imported() -> None:
    core = requirements(PROJECT["project"]["dependencies"])
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {name for extra in extras if extra != "dev" for name in requirements(extras[extra])}
    imported = imported_distributions(source_files())
    assert imported <= core | optional
    assert core <= imported


def test_test_imports_are_declared() -> None:
    declared = requirements(PROJECT["project"]["dependencies"])
    declared |= {
        name for lines in PROJECT["project"]["optional-dependencies"].values() for name in requirements(lines)
    }
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    local = {path.stem for path in files}
    assert {
        name for name in imported_distributions(files) if name.replace("-", "_") not in local
    } <= declared_anywhere()


def test_constraints_pin_every_direct_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    declared = requirements(PROJECT["project"]["dependencies"])
    declared |= {
        name for lines in PROJECT["project"]["optional-dependencies"].values() for name in requirements(lines)
    }
    assert declared <= {_normalised(name) for name in pins}


@pytest.mark.parametrize("statement", ["import anygen", "from anygen.app.cli import main"])
def test_light_imports_load_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_bundle_is_tracked_whole_and_small() -> None:
    folder = ROOT / "anygen" / "bundled"
    files = [path for path in folder.rglob("*") if path.is_file()]
    whole, parts = ({path.name for path in (folder / name).iterdir()} for name in ("toybox-tiny", "small"))
    assert {"config.json", "manifest.json", "README.md"} <= whole
    assert {"adapter", "input_projection", "output_projections", "manifest.json", "README.md"} == parts
    assert sum(path.stat().st_size for path in files) <= BUNDLE_LIMIT
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors", ".txt", ".model", ".jinja"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with anygen as its wheel installs it; built from a copy, so that no stale build/ gets in."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*{Path(folder).parts[0] for folder in PACKAGE_DIR.values()}, *_METADATA):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(copy)]
    subprocess.run(build, check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


_METADATA = ("pyproject.toml", "README.md", "LICENSE")


def run_installed(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_wheel_has_everything_and_every_module_imports(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, anygen
names = [module.name for module in pkgutil.walk_packages(anygen.__path__, "anygen.")]
scripts = ("__main__", "app.ui.main")  # Streamlit runs the second, page by page
names = [name for name in names if not name.endswith(scripts)]
for name in names:
    importlib.import_module(name)
print(anygen.__file__, len(names))
"""
    done = run_installed(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    where, count = done.stdout.split()
    assert Path(where) == installed / "anygen" / "__init__.py"
    modules = [
        p for p in source_files() if p.name != "__main__.py" and p.parts[-3:] != ("app", "ui", "main.py")
    ]
    assert int(count) == len(modules) - 1
    assert (installed / "anygen" / "py.typed").exists()
    assert not {"stages", "pipelines", "app", "tests"} & {path.name for path in installed.iterdir()}


@pytest.mark.slow
def test_wheel_carries_every_file(installed: Path) -> None:
    def listing(folder: Path) -> dict[str, int]:
        files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(folder)): path.stat().st_size for path in files}

    for package, folder in PACKAGE_DIR.items():
        shipped, written = listing(installed / Path(*package.split("."))), listing(ROOT / folder)
        assert {name: shipped.get(name) for name in written} == written


@pytest.mark.slow
def test_wheel_generates_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    request = ("a large red circle on a gray background", "--output", "image", "--seed", "0")
    sink = ("--json", "--out", str(tmp_path / "out"))
    done = run_installed(installed, tmp_path, "-m", "anygen.app.cli", "generate", *request, *sink)
    assert done.returncode == 0, done.stderr
    images = [part for part in json.loads(done.stdout)["parts"] if part["type"] == "image"]
    assert len(images) == 1
    assert Path(images[0]["path"]).read_bytes().startswith(b"\x89PNG")
