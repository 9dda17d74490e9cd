"""The command line on a whole tiny model of random weights."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from anygen import load_media
from anygen.app import cli
from anygen.media import load_tags

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)).save(tmp_path / "in.png")
    np.save(tmp_path / "in.npy", rng.normal(size=(6, 2000)).astype(np.float32))
    return tmp_path


def test_generate_prints_one_json_object_and_writes_whole_files(
    tiny_folder: Path, inputs: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    arguments = [
        "generate", "what a secret", "--image", "in.png", "--imu", "in.npy", "--model", str(tiny_folder),
        "--output", "text,image,audio,video", "--seed", "3", "--steps", "3", "--guidance", "1.5", "--json",
        "--out", "out",
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert out.count("\n") == 1 and list(result) == ["text", "parts", "model", "seed", "seconds"]
    assert result["model"] == str(tiny_folder) and result["seed"] == 3 and result["seconds"]["total"] > 0
    kinds = [part["type"] for part in result["parts"]]
    assert sorted(kinds) == ["audio", "image", "text", "video"]
    for part in result["parts"]:
        if part["type"] == "text":
            assert part["text"] == result["text"]
            continue
        load_media(part["type"], part["path"], rate=None)
        tags = load_tags(part["path"])
        assert (tags["Seed"], tags["Steps"], tags["Guidance"]) == ("3", "3", "1.5")
        assert b"secret" not in Path(part["path"]).read_bytes()
    assert len(list((inputs / "out").iterdir())) == 3
    assert "loading" in err and "Traceback" not in err

    twin = subprocess.run(
        [sys.executable, "-m", "anygen.app.cli", *arguments[:-1], "twin", "--quiet"],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert (twin.returncode, twin.stderr) == (0, "")
    again = json.loads(twin.stdout)
    assert again["text"] == result["text"]
    for one, two in zip(result["parts"], again["parts"], strict=True):
        if "path" in one:
            assert Path(one["path"]).read_bytes() == Path(two["path"]).read_bytes()


def test_generate_in_words(tiny_folder: Path, tmp_path: Path, capsys: Captured) -> None:
    arguments = [
        "generate",
        "a star",
        "--model",
        str(tiny_folder),
        "--out",
        str(tmp_path),
        "--seed",
        "1",
        "--quiet",
    ]
    assert cli.main([*arguments, "--output", "image", "--embed-prompt"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (path,) = tmp_path.glob("*.png")
    assert out.splitlines()[-1] == f"image: {path}"
    assert load_tags(path)["Prompt"] == "a star"
    assert cli.main([*arguments, "--output", "video", "--steps", "1001"]) == 2
    out, err = capsys.readouterr()
    assert "`image_options.num_inference_steps` is 1001" in err and err.count("\n") == 1 and out == ""
    assert cli.main(["generate", "", "--model", str(tiny_folder), "--out", str(tmp_path), "--quiet"]) == 2
    assert "message 1 is empty" in capsys.readouterr().err
    assert list(tmp_path.glob("*")) == [path]


def test_chat(tiny_folder: Path, inputs: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["chat", "--model", str(tiny_folder), "--out", str(inputs / "out"), "--seed", "0", "--quiet"]
    lines = f"/attach {inputs / 'in.png'}\nwhat is it?\nagain\n/new\nhello\n/quit\nnot read\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count("\n") >= 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("/attch x\n"))
    assert cli.main(arguments) == 2
    assert "Found /attch, expected a message or a command" in capsys.readouterr().err


def test_embed(tiny_folder: Path, inputs: Path, capsys: Captured) -> None:
    arguments = ["embed", str(inputs / "in.png"), f"imu={inputs / 'in.npy'}", "--text", "a", "--text", "b"]
    arguments += ["--model", str(tiny_folder), "--quiet"]
    assert cli.main([*arguments, "--out", str(inputs / "v.safetensors")]) == 0
    assert capsys.readouterr().out == f"{inputs / 'v.safetensors'}\n"
    vectors = load_file(inputs / "v.safetensors")
    assert {name: v.shape for name, v in vectors.items()} == {
        "image": (1, 16),
        "imu": (1, 16),
        "text": (2, 16),
    }
    assert all(np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5) for v in vectors.values())
    assert cli.main(arguments) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4 and rows[0].startswith("image: ") and "1.000" in rows[0]


def test_inspect_counts_what_the_files_hold(tiny_folder: Path, capsys: Captured) -> None:
    assert cli.main(["inspect", str(tiny_folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    parts = {part["name"]: part for part in report["parts"]}
    assert parts["input_projection"]["parameters"] == parts["input_projection"]["trainable"] == 16 * 64 + 64
    assert parts["decoders/image"]["trainable"] == parts["llm"]["trainable"] == 0
    assert parts["decoders/image"]["parameters"] > 100_000
    assert report["trainable"] == sum(part["trainable"] for part in report["parts"]) > 0


def test_a_damaged_model_is_refused(tiny_folder: Path, tmp_path: Path, capsys: Captured) -> None:
    import shutil

    model = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = model / "output_projections" / "image" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert cli.main(["generate", "x", "--model", str(model), "--out", str(tmp_path), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert (
        "output_projections/image/model.safetensors does not have the SHA-256" in err and err.count("\n") == 1
    )
    (model / "config.json").write_text("{")
    assert cli.main(["inspect", str(model)]) == 2
    assert "config.json is not valid JSON" in capsys.readouterr().err


def test_eval_grades_and_writes(tiny_folder: Path, tmp_path: Path, capsys: Captured) -> None:
    arguments = [
        "eval",
        "toybox",
        "--model",
        str(tiny_folder),
        "--count",
        "1",
        "--directions",
        "text-to-image",
    ]
    assert cli.main([*arguments, "--json", str(tmp_path / "f.json"), "--quiet"]) == 0
    assert "toybox suite, model" in capsys.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text())["suite"] == "toybox"
    assert cli.main([*arguments[:-1], "text-to-imag", "--quiet"]) == 2
    assert "`text-to-imag` is not a direction; did you mean `text-to-image`?" in capsys.readouterr().err


def test_toybox_renders_what_the_oracles_read(tmp_path: Path, capsys: Captured) -> None:
    scene = ["shape=star", "color=red", "size=large", "background=navy", "motion=up"]
    assert cli.main(["toybox", "render", *scene, "--seed", "2", "--out", str(tmp_path)]) == 0
    paths = capsys.readouterr().out.split()
    assert [Path(path).name for path in paths] == [
        "text.txt", "image.png", "audio.wav", "video.mp4", "depth.npy", "thermal.npy", "imu.npy",
    ]  # fmt: skip
    files = [str(tmp_path / name) for name in ("image.png", "audio.wav", "video.mp4", "imu.npy")]
    assert cli.main(["toybox", "oracles", *files, f"thermal={tmp_path / 'thermal.npy'}"]) == 0
    readings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = dict(text.split("=") for text in scene)
    for reading in readings:
        assert reading["attributes"], reading
        assert all(expected[name] == value for name, value in reading["attributes"].items()), reading
    assert (
        cli.main(
            ["toybox", "export", "--count", "2", "--modality", "text,image", "--out", str(tmp_path / "e")]
        )
        == 0
    )
    assert (tmp_path / "e" / "scenes.jsonl").read_text().count("\n") == 2
    assert cli.main(["toybox", "oracles", "--count", "2"]) == 0
    assert capsys.readouterr().out.count("%") > 7
