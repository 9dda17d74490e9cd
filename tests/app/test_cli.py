"""The command line without a model: start-up, help, usage errors, bad files, files that appear whole."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anygen.app import cli, common
from anygen.app.attachments import split_name
from anygen.app.command_train import STAGES
from anygen.errors import BadArgument, BadMedia, Cancelled
from anygen.modality import Modality

HEAVY = ("torch", "numpy", "transformers", "diffusers", "PIL", "av", "huggingface_hub")


def python(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **settings
    )  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "code", ["import anygen", "from anygen.app.cli import main; main(['--help'])", "import anygen.app.cli"]
)
def test_nothing_heavy_is_imported(code: str) -> None:
    done = python("-c", f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_help_is_fast_and_lists_what_there_is() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = python("-m", "anygen.app.cli", "--help")
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0 and done.stderr == ""
    for name in ("generate", "chat", "embed", "inspect", "train", "eval", "toybox"):
        assert f"\n    {name} " in done.stdout
    assert min(seconds) < 0.4 * 2.5, seconds  # the bar is 0.4 s on an idle machine


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        assert cli.main([name, "--help"]) == 0
        assert f"usage: anygen {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "found no command, expected one of generate"),
        (["generat"], "invalid choice: 'generat'"),
        (["generate"], "the following arguments are required: PROMPT"),
        (["generate", "x", "--seed", "-1"], "--seed: found '-1', expected a whole number from 0 to"),
        (["generate", "x", "--seed", "0.5"], "expected a whole number"),
        (["generate", "x", "--steps", "0"], "--steps: found '0', expected a whole number of 1 or more"),
        (["generate", "x", "--guidance", "nan"], "--guidance: found 'nan', expected a number of 0 or more"),
        (["generate", "x", "--output", "text,imag"], "`imag` is not an output; did you mean `image`?"),
        (["generate", "x", "--dtype", "int3"], "--dtype: invalid choice"),
        (["generate", "x", "--imag", "f"], "unrecognized arguments: --imag"),
        (["generate", "x", "--image", "missing.png"], "missing.png"),
        (["generate", "x", "--model", "toybox-tinny", "--quiet"], "Found no model 'toybox-tinny'"),
        (["generate", "x", "--out", "/dev/null/x"], "Cannot write to /dev/null/x"),
        (["generate", "draw [IMG0][IMG1]"], "Found [IMG0] in the prompt, expected plain words"),
        (["generate", "</Img> x"], "Found </Img> in the prompt"),
        (["embed"], "Found nothing to embed"),
        (
            ["embed", "--text", "x", "--out", "y.txt"],
            "--out is y.txt, expected a name that ends in .safetens",
        ),
        (["embed", "x.xyz"], "Cannot tell what x.xyz is from its suffix"),
        (["inspect", "nothing-here"], "Found no model 'nothing-here'"),
        (["train", "binding"], "the following arguments are required: --config"),
        (["train", "binding", "--config", "no.yaml"], "Found no file no.yaml"),
        (["train", "bindin", "--config", "no.yaml"], "invalid choice: 'bindin'"),
        (["eval", "toybx"], "invalid choice: 'toybx'"),
        (["eval", "toybox", "--count", "0"], "--count: found '0'"),
        (["toybox"], "the following arguments are required: ACTION"),
        (
            ["toybox", "render", "shap=star", "--out", "o"],
            "`shap` is not an attribute; did you mean `shape`?",
        ),
        (["toybox", "render", "shape=stat", "--out", "o"], "`stat` is not a shape; did you mean `star`?"),
        (["toybox", "render", "star", "--out", "o"], "Found 'star', expected NAME=VALUE"),
        (["toybox", "render", "--modality", "smell", "--out", "o"], "`smell` is not a modality"),
        (["chat", "--seed", "x"], "--seed: found 'x'"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("anygen") and err.count("\n") == 1 and message in err
    assert "Traceback" not in err and "0x" not in err
    assert not list(tmp_path.rglob("*.png"))


def bad_files(folder: Path) -> dict[str, tuple[str, str]]:
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(good, "PNG")
    files = {
        "empty.png": b"",
        "cut.png": good.getvalue()[: len(good.getvalue()) // 2],
        "text.png": b"<html></html>",
        "noise.wav": os.urandom(200),
        "empty.mp4": b"",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    np.save(folder / "nan.npy", np.full((6, 2000), np.nan, np.float32))
    np.save(folder / "odd.npy", np.zeros((5, 7), np.float32))
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    kinds = {".png": "image", ".wav": "audio", ".mp4": "video", ".npy": "imu"}
    return {name: (kinds[Path(name).suffix], name) for name in [*files, "nan.npy", "odd.npy", "objects.npy"]}


def test_bad_files_are_found_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (kind, file) in bad_files(tmp_path).items():
        status = cli.main(
            ["generate", "what is it?", f"--{kind}", file, "--model", "no-model", "--out", "out"]
        )
        err = capsys.readouterr().err
        assert status == 2, name
        assert err.count("\n") == 1 and "no-model" not in err and "Traceback" not in err, (name, err)
        assert list((tmp_path / "out").iterdir()) == []


def test_errors_of_other_kinds_are_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(error: BaseException) -> None:
        def run(arguments: object) -> None:
            raise error

        command = common.Command(name="inspect", help="x", add_arguments=lambda parser: None, run=run)
        monkeypatch.setitem(cli.COMMANDS, "inspect", command)

    for error, message in [
        (Cancelled("stopped by the caller"), "anygen: stopped by the caller\n"),
        (MemoryError(), "anygen: memory ran out; use a smaller model"),
        (RuntimeError("secret at 0x7f"), "anygen: unexpected RuntimeError; set ANYGEN_TRACEBACK=1"),
        (KeyboardInterrupt(), "anygen: interrupted\n"),
    ]:
        failing(error)
        assert cli.main(["inspect"]) == 1
        err = capsys.readouterr().err
        assert message in err and "secret" not in err and err.count("\n") == 1
    failing(BadMedia("two\nlines"))
    assert cli.main(["inspect"]) == 2
    assert capsys.readouterr().err == "anygen: two lines\n"


def test_a_closed_pipe_ends_quietly() -> None:
    program = "import sys; from anygen.app.cli import main; sys.exit(main(['inspect', 'toybox-tiny']))"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{program}" | true'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_inspect_knows_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "nextgpt-7b", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    parts = {part["name"]: part for part in report["parts"]}
    assert parts["encoder"]["parameters"] == 1_200_781_057
    assert [parts[f"output_projections/{m}"]["parameters"] for m in ("image", "audio", "video")] == [
        31_958_784, 31_788_544, 32_090_112,
    ]  # fmt: skip
    assert parts["input_projection"] == {
        "name": "input_projection", "parameters": 4_198_400, "trainable": 4_198_400, "licence": "Apache-2.0",
        "source": "trained by the stages of anygen",
    }  # fmt: skip
    assert report["parameters"] == sum(part["parameters"] for part in report["parts"])
    assert 0.01 < report["trainable"] / report["parameters"] < 0.012
    assert cli.main(["inspect", "nextgpt-7b"]) == 0
    assert "CC-BY-NC-SA-4.0" in capsys.readouterr().out


def test_stages_are_those_of_the_trainer() -> None:
    from anygen.stages.run import STAGES as BUILT

    assert set(STAGES) == set(BUILT)


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    def good(path: Path) -> None:
        path.write_text("new")

    def bad(path: Path) -> None:
        path.write_text("half")
        raise BadArgument("no")

    with pytest.raises(BadArgument, match="^no$"):
        common.write_whole([(tmp_path / "a.txt", good), (tmp_path / "b.txt", bad)])
    assert list(tmp_path.iterdir()) == []
    assert common.write_whole([(tmp_path / "a.txt", good)]) == [tmp_path / "a.txt"]
    assert common.write_whole([(tmp_path / "a.txt", good)]) == [tmp_path / "a-2.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.txt", "a.txt"]


def test_modality_of_a_file(tmp_path: Path) -> None:
    assert split_name("a.JPG") == (Modality.IMAGE, "a.JPG")
    assert split_name("depth=a.npy") == (Modality.DEPTH, "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((2000, 6), np.float32))
    assert split_name(str(tmp_path / "a.npy"))[0] is Modality.IMU
    np.save(tmp_path / "b.npy", np.zeros((64, 64), np.float32))
    with pytest.raises(BadArgument, match="whether .*b.npy is depth or thermal; say it in front"):
        split_name(str(tmp_path / "b.npy"))
    with pytest.raises(BadMedia, match="gone.npy cannot be read as a .npy array"):
        split_name("gone.npy")
    with pytest.raises(BadArgument, match="`imagee` is not a modality of files; did you mean `image`"):
        split_name("imagee=x")
