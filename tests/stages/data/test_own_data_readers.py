"""Every format becomes the same records, and every bad entry is told by file and line."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.errors import BadArgument, BadMedia
from anygen.media import Audio, save_media
from anygen.modality import Modality
from anygen.stages.data.readers import SourceConfig, detect, read
from anygen.stages.data.records import MediaIn, MediaOut, Problem, Record
from anygen.stages.data.sources import load

IMAGE, AUDIO, VIDEO = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (16, 16), (200, 0, 0)).save(tmp_path / name)
    save_media(Audio(np.zeros((1, 4000), np.float32), 16000), tmp_path / "s.wav")
    return tmp_path


def entries(folder: Path, name: str, rows: list[Any] | str, **options: Any) -> list[Record | Problem]:
    if isinstance(rows, str):
        text = rows
    elif name.endswith(".json"):
        text = json.dumps(rows, indent=1)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text)
    return list(read(SourceConfig(path=str(folder / name), **options)))


def one(folder: Path, name: str, row: dict[str, Any], **options: Any) -> Record:
    (entry,) = entries(folder, name, [row], **options)
    assert isinstance(entry, Record), str(entry)
    return entry


def shape(record: Record) -> list[tuple[str, list[str]]]:
    """Roles and parts, short: texts as they are, `<image a.png>` in, `[image: caption]` out."""

    def said(part: Any) -> str:
        if isinstance(part, MediaIn):
            return f"<{part.modality} {part.source.name}>"
        if isinstance(part, MediaOut):
            return f"[{part.modality}: {part.caption}" + (f" {part.source.name}]" if part.source else "]")
        return str(part)

    return [(turn.role, [said(part) for part in turn.parts if part != " "]) for turn in record.turns]


def problem(entry: Record | Problem, kind: str, *words: str) -> None:
    assert isinstance(entry, Problem), entry
    assert entry.kind == kind
    for word in words:
        assert word in str(entry)


def test_manifest_short_form(folder: Path) -> None:
    rows = [
        {"id": "1", "image": "a.png", "text": "red"},
        {"image": ["a.png", "b.png"], "audio": "s.wav", "prompt": "Well?", "caption": "much"},
        {"prompt": "Paint the sea.", "output_image": "a.png", "text": "a grey sea"},
        {"image": "a.png", "prompt": "Blue!", "output_image": "b.png", "output_audio": "s.wav", "text": "b"},
        {"prompt": "Who are you?", "text": "A program."},
        {"imu": "trace.csv", "imu_rate": 50, "text": "a walk"},
    ]  # fmt: skip
    found = entries(folder, "m.jsonl", rows)
    assert [shape(r) for r in found[:5] if isinstance(r, Record)] == [
        [("user", ["<image a.png>"]), ("assistant", ["red"])],
        [("user", ["<image a.png>", "<image b.png>", "<audio s.wav>", "Well?"]), ("assistant", ["much"])],
        [("user", ["Paint the sea."]), ("assistant", ["a grey sea", "[image: a grey sea a.png]"])],
        [
            ("user", ["<image a.png>", "Blue!"]),
            ("assistant", ["b", "[image: b b.png]", "[audio: b s.wav]"]),
        ],
        [("user", ["Who are you?"]), ("assistant", ["A program."])],
    ]  # fmt: skip
    assert isinstance(found[0], Record) and found[0].caption == "red" and found[0].identity == "1"
    assert isinstance(found[1], Record) and found[1].caption is None
    assert isinstance(found[5], Record) and found[5].inputs[0].rate == 50
    assert [r.place.line for r in found] == [1, 2, 3, 4, 5, 6]


def test_messages_mix_media_that_come_and_go_over_turns(folder: Path) -> None:
    text = {"type": "text", "text": "Turn it blue and add a sound."}
    answer = [
        {"type": "text", "text": "Here:"},
        {"type": "image", "path": "b.png", "caption": "blue"},
        {"type": "audio", "caption": "a hum"},
    ]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, text]},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "Again?"},
        {"role": "assistant", "content": [{"type": "text", "text": "a film"}, {"type": "video"}]},
    ]
    assert shape(one(folder, "m.jsonl", {"messages": messages})) == [
        ("system", ["Be brief."]),
        ("user", ["<image a.png>", "Turn it blue and add a sound."]),
        ("assistant", ["Here:", "[image: blue b.png]", "[audio: a hum]"]),
        ("user", ["Again?"]),
        ("assistant", ["a film", "[video: a film]"]),
    ]


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ('{"image": "a.png"', "syntax", "no JSON"),
        ("[1]", "structure", "found a list, expected an object"),
        ('{"imgae": "a.png", "text": "x"}', "unknown-field", "did you mean `image`?"),
        ('{"image": "a.png", "text": "  "}', "empty-caption", "found nothing, expected words"),
        ('{"image": "a.png", "text": "x", "caption": "y"}', "structure", "leave one out"),
        ('{"text": "x"}', "structure", "neither media nor a prompt"),
        ('{"image": 3, "text": "x"}', "structure", "found a number, expected the name of a file"),
        ('{"output_image": "a.png", "text": "x"}', "structure", "the user says and shows nothing"),
        ('{"imu": "t.csv", "imu_rate": -1, "text": "x"}', "structure", "expected samples a second"),
        ('{"messages": [], "text": "x"}', "structure", "found text beside messages"),
        ('{"messages": "x"}', "structure", "expected a list of messages"),
        ('{"messages": []}', "structure", "found no turns at the end"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "structure", "expected the assistant's answer"),
        ('{"messages": [{"role": "bot", "content": "x"}]}', "structure", "found role 'bot'"),
        ('{"messages": [{"role": "user"}]}', "structure", "expected an object of role and content"),
        ('{"messages": [{"role": "user", "content": 3}]}', "structure", "content is a number"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', "structure", "expected an object with a type"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}',
            "unknown-field",
            "found 'url', expected only",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "smell"}]}]}',
            "structure",
            "`smell` is not a modality",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}',
            "missing-file",
            "found no file, expected the key image",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image", "image": "a", "path": "b"}]}]}',
            "structure",
            "found image and path",
        ),
        (
            '{"messages": [{"role": "assistant", "content": [{"type": "depth", "path": "b"}]}]}',
            "structure",
            "found depth in the assistant's turn",
        ),
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", '
            '"content": [{"type": "image", "path": "b.png"}]}]}',
            "empty-caption",
            "caption: found nothing",
        ),
        ('{"image": "a.png", "text": "a\\u0000b"}', "structure", "NUL"),
    ],
)
def test_bad_lines_are_told(folder: Path, row: str, kind: str, words: str) -> None:
    good = '{"image": "a.png", "text": "x"}'
    found = entries(folder, "m.jsonl", f"\n{good}\n{row}\n{good}\n", format="manifest")
    assert isinstance(found[0], Record) and isinstance(found[2], Record) and len(found) == 3
    problem(found[1], kind, words, "m.jsonl:3: ")


def test_csv_has_lists_renamed_and_ignored_columns(folder: Path) -> None:
    text = 'img,title,licence\na.png,"red,\nand wide",CC\n"[""a.png"", ""b.png""]",both,CC\na.png,short\n'
    options: dict[str, Any] = {"columns": {"img": "image", "title": "text"}, "ignore": ("licence",)}
    found = entries(folder, "m.csv", text, **options)
    assert isinstance(found[0], Record) and found[0].caption == "red,\nand wide" and found[0].place.line == 2
    assert isinstance(found[1], Record) and len(found[1].inputs) == 2 and found[1].place.line == 4
    problem(found[2], "syntax", "m.csv:5", "found 2 cells, expected 3")
    problem(entries(folder, "n.csv", "image,text,licence\na.png,x,CC\n")[0], "unknown-field", "`licence`")


def test_broken_lists_name_the_line(folder: Path) -> None:
    problem(entries(folder, "l.json", '{"a": 1}')[0], "syntax", "l.json:1: ", "found no JSON list")
    cut = entries(folder, "l.json", '[\n{"image": "a.png", "text": "x"},\n{"ima', format="manifest")
    problem(cut[1], "syntax", "l.json:3", "broken JSON")
    comma = entries(folder, "l.json", '[\n{"image": "a.png", "text": "x"}\n{"a": 1}]', format="manifest")
    problem(comma[1], "syntax", "l.json:3", "comma missing")


LLAVA = {
    "id": "7",
    "image": "a.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "Red."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ],
}


def test_llava(folder: Path) -> None:
    assert shape(one(folder, "l.json", LLAVA)) == [
        ("user", ["<image a.png>", "What is it?"]),
        ("assistant", ["Red."]),
        ("user", ["Sure?"]),
        ("assistant", ["Yes."]),
    ]
    assert detect(SourceConfig(path=str(folder / "l.json"))) == "llava"
    turns = [{"from": "human", "value": "<image> <image>"}, {"from": "gpt", "value": "x"}]
    bad = entries(folder, "l.json", [LLAVA, LLAVA | {"conversations": turns}])
    problem(bad[1], "placeholders", "l.json:24 (entry 2)", "found more <image> than files")
    few = LLAVA | {"image": ["a.png", "b.png"]}
    problem(entries(folder, "l.json", [few])[0], "placeholders", "found more image media than <image>")
    turns = [{"from": "elephant", "value": "x"}]
    problem(entries(folder, "l.json", [LLAVA | {"conversations": turns}])[0], "structure", "human or gpt")
    turns = [{"from": "human", "value": "x", "mood": "y"}]
    problem(entries(folder, "l.json", [LLAVA | {"conversations": turns}])[0], "unknown-field", "'mood'")
    problem(entries(folder, "l.json", [LLAVA | {"conversations": "x"}])[0], "structure", "list of turns")
    problem(entries(folder, "l.json", [LLAVA | {"model": "x"}])[0], "unknown-field", "`model`")


def test_nextgpt_pairs_with_their_folders(folder: Path) -> None:
    (folder / "audios").mkdir()
    (folder / "s.wav").rename(folder / "audios" / "s.wav")
    assert shape(one(folder, "cc3m.json", {"caption": "red", "id": "1", "image_name": "a.png"})) == [
        ("user", ["<image a.png>"]),
        ("assistant", ["red"]),
    ]
    record = one(folder, "audiocap.json", {"audio_id": "3", "audio_name": "s.wav", "caption": "silence"})
    assert record.inputs[0].source.missing() is None
    assert record.inputs[0].modality is AUDIO
    record = one(folder, "webvid.json", {"caption": "c", "id": "1", "video_name": "v.mp4"})
    assert record.inputs[0].modality is VIDEO and "no file 'v.mp4'" in str(record.inputs[0].source.missing())
    problem(entries(folder, "cc3m.json", [{"caption": " ", "image_name": "a.png"}])[0], "empty-caption")
    problem(entries(folder, "x.json", [{"caption": "x"}], format="nextgpt")[0], "structure", "nor a medium")


def human(value: str, **more: str) -> dict[str, str]:
    return {"from": "human", "value": value, **more}


def gpt(value: str, **more: str) -> dict[str, str]:
    return {"from": "gpt", "value": value, **more}


def test_nextgpt_older_conversations(folder: Path) -> None:
    turns = [human("Draw.", input_modality="text"), gpt("Sure.", caption="a fox", output_modality="image")]
    t2m = {"mm_name": "a.png", "conversation": turns, "source_data": {"x": 1}}
    assert shape(one(folder, "t.json", t2m))[1] == ("assistant", ["Sure.", "[image: a fox a.png]"])
    del t2m["mm_name"]  # the files of January 2024
    assert shape(one(folder, "t.json", t2m))[1] == ("assistant", ["Sure.", "[image: a fox]"])
    turns = [human("What?", input_modality="image"), gpt("Red.", caption="", output_modality="text")]
    processed = {"image_name": "a.png", "output_modality": "text", "conversation": turns}
    assert shape(one(folder, "t.json", processed))[0] == ("user", ["<image a.png>", "What?"])
    turns = [human("Who?", input_modality="text"), gpt("I.", caption="", output_modality="text")]
    words = {"image_name": "0000.jpg", "output_modality": "text", "conversation": turns}
    assert not one(folder, "t.json", words).media  # alpaca names a picture that does not exist
    bad = [human("x"), gpt("y", caption="c", output_modality="smell")]
    problem(entries(folder, "t.json", [{"conversation": bad}])[0], "structure", "output_modality 'smell'")
    bad = [human("x"), gpt("y", caption="", output_modality="image")]
    problem(entries(folder, "t.json", [{"conversation": bad}])[0], "empty-caption")


def test_nextgpt_newer_conversations(folder: Path) -> None:
    row: dict[str, Any] = {"input_image": "a.png", "conversations": [human("<image>\nWhat?"), gpt("Red.")]}
    assert shape(one(folder, "n.json", row))[0] == ("user", ["<image a.png>", "What?"])
    row = {
        "output_image": "a.png",
        "image_captions": "a fox",
        "image_caption_embeddings": "a.png.npy",
        "conversations": [human("Go."), gpt("Sure thing! <image>")],
    }
    assert shape(one(folder, "n.json", row))[1] == ("assistant", ["Sure thing! ", "[image: a fox a.png]"])
    row = {
        "image_captions": ["a fox", "a hen"],
        "audio_captions": ["a cry"],
        "input_video": "v.mp4",
        "conversations": [human("<video>\nGo."), gpt("<image> then <image>"), human("And?"), gpt("<audio>")],
    }
    assert shape(one(folder, "n.json", row)) == [
        ("user", ["<video v.mp4>", "Go."]),
        ("assistant", ["[image: a fox]", " then ", "[image: a hen]"]),
        ("user", ["And?"]),
        ("assistant", ["[audio: a cry]"]),
    ]
    row = {"image_captions": ["a fox"], "conversations": [human("Go."), gpt("Here.")]}
    assert shape(one(folder, "n.json", row))[1] == ("assistant", ["Here.", "[image: a fox]"])
    row = {"image_captions": ["a fox"], "conversations": [human("Go."), gpt("<image> <image>")]}
    problem(entries(folder, "n.json", [row])[0], "placeholders", "than captions or files to show")
    row = {"output_image": ["a.png", "b.png"], "image_captions": "x", "conversations": [human("x"), gpt("y")]}
    problem(
        entries(folder, "n.json", [row])[0], "structure", "found 2 in output_image and 1 in image_captions"
    )


def test_nextgpt_mosit_has_files_and_captions_inside_its_turns(folder: Path) -> None:
    row = {
        "image_list": [{"image_name": "a.png", "data_source": "x", "caption": "a cat"}],
        "video_list": [],
        "audio_list": [],
        "conversation": [
            human("Look: <Image>a.png</Image><image>a cat</image> and?"),
            gpt("See <Image>b.png</Image> <image>a dog</image>, <audio>woof</audio>"),
            human("Again."),
            gpt("<Image>a.png</Image>"),
        ],
    }
    assert shape(one(folder, "mosit.json", row)) == [
        ("user", ["Look: ", "<image a.png>", " and?"]),
        ("assistant", ["See ", "[image: a dog b.png]", ", ", "[audio: woof]"]),
        ("user", ["Again."]),
        ("assistant", ["[image: a cat a.png]"]),
    ]
    bad = {"image_list": [], "conversation": [human("<image>a bird</image>"), gpt("x")]}
    problem(
        entries(folder, "mosit.json", [bad], format="nextgpt")[0], "missing-file", "caption instead of a file"
    )


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_webdataset_is_read_in_place(folder: Path) -> None:
    png, wav = (folder / "a.png").read_bytes(), (folder / "s.wav").read_bytes()
    messages = [
        {"role": "user", "content": [{"type": "image", "image": "png"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": "!"},
    ]
    members = {
        "x/0.png": png, "x/0.txt": b"red", "x/1.0.png": png, "x/1.1.png": png, "x/1.json": b'{"text": "two"}',
        "x/2.output_image.png": png, "x/2.prompt.txt": b"Draw.", "x/2.txt": b"a fox",
        "x/3.wav": wav, "x/3.json": b"{", "x/4.png": png, "x/4.cls": b"1", "x/4.txt": b"q",
        "x/5.png": png, "x/5.json": json.dumps({"messages": messages}).encode(),
        "x/6.json": b'{"image": "no.png", "text": "x"}', "x/0.wav": wav,
    }  # fmt: skip
    write_tar(folder / "w-0.tar", members)
    write_tar(folder / "w-1.tar", {"9.wav": wav, "9.caption": b"silence"})
    found = list(read(SourceConfig(path=str(folder / "w-*.tar"))))
    assert shape(found[0]) == [("user", ["<image x/0.png>"]), ("assistant", ["red"])]  # type: ignore[arg-type]
    assert load(IMAGE, found[0].inputs[0].source).size == (16, 16)  # type: ignore[union-attr]
    assert shape(found[1])[0] == ("user", ["<image x/1.0.png>", "<image x/1.1.png>"])  # type: ignore[arg-type]
    expected = ("assistant", ["a fox", "[image: a fox x/2.output_image.png]"])
    assert shape(found[2])[1] == expected  # type: ignore[arg-type]
    problem(found[3], "syntax", "w-0.tar:4 (x/3)", "found no JSON")
    problem(found[4], "unknown-field", "`cls`")
    problem(found[6], "missing-file", "found no member 'no.png'")
    assert isinstance(found[5], Record) and found[5].inputs[0].source.name == "x/5.png"
    problem(found[7], "structure", "sort the tar by name")
    assert isinstance(found[-1], Record) and found[-1].caption == "silence"
    assert str(found[-1].place).endswith("w-1.tar:1 (9)")


def test_webdataset_damage_is_told(folder: Path) -> None:
    write_tar(folder / "w.tar", {"0.png": (folder / "a.png").read_bytes() * 20, "0.txt": b"red"})
    whole = (folder / "w.tar").read_bytes()
    record = next(iter(read(SourceConfig(path=str(folder / "w.tar")))))
    (folder / "w.tar").write_bytes(whole[:700])
    assert isinstance(record, Record)
    with pytest.raises(BadMedia, match=r"w.tar ends inside this member"):
        load(IMAGE, record.inputs[0].source)
    problem(list(read(SourceConfig(path=str(folder / "w.tar"))))[0], "syntax", "no whole tar")
    with pytest.raises(BadArgument, match="found no tar at"):
        list(read(SourceConfig(path=str(folder / "*.none"), format="webdataset")))
    (folder / "w.tar.gz").write_bytes(b"x")
    with pytest.raises(BadArgument, match="expected plain .tar files"):
        list(read(SourceConfig(path=str(folder / "w.tar.gz"), format="webdataset")))


def test_a_folder_of_files_with_captions_beside_them(folder: Path) -> None:
    (folder / "a.txt").write_text("red\n")
    (folder / "b.txt").write_bytes(b"\xff\xfe\xff")
    found = list(read(SourceConfig(path=str(folder))))
    assert shape(found[0]) == [("user", ["<image a.png>"]), ("assistant", ["red"])]  # type: ignore[arg-type]
    problem(found[1], "syntax", "b.txt: found no UTF-8")
    problem(found[2], "empty-caption", "(s)")
    assert len(found) == 3


def test_huggingface_from_disk_and_parquet(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    columns = {
        "image": [str(folder / "a.png"), str(folder / "b.png")],
        "title": ["red", " "],
        "label": [1, 2],
    }
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    table.save_to_disk(str(folder / "disk"))
    table.to_parquet(str(folder / "t.parquet"))
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(folder / "splits"))
    options: dict[str, Any] = {"columns": {"title": "text"}, "ignore": ("label",)}
    for config in (
        SourceConfig(path=str(folder / "disk"), **options),
        SourceConfig(path=str(folder / "t.parquet"), **options),
        SourceConfig(path=str(folder / "splits"), split="test", **options),
    ):
        first, second = read(config)
        assert isinstance(first, Record) and first.caption == "red"
        assert load(IMAGE, first.inputs[0].source).size == (16, 16)
        problem(second, "empty-caption", f"{config.path}:2")
    paths = datasets.Dataset.from_dict({"pictures": [["a.png", "b.png"]], "text": ["two"]})
    paths.to_parquet(str(folder / "p.parquet"))
    (two,) = read(SourceConfig(path=str(folder / "p.parquet"), columns={"pictures": "image"}))
    assert isinstance(two, Record) and [m.source.missing() for m in two.inputs] == [None, None]
    lists = {"image": [[str(folder / "a.png"), str(folder / "b.png")]], "text": ["two"]}
    table = datasets.Dataset.from_dict(lists).cast_column("image", datasets.List(datasets.Image()))
    table.save_to_disk(str(folder / "lists"))
    (two,) = read(SourceConfig(path=str(folder / "lists")))
    assert isinstance(two, Record) and [load(IMAGE, m.source).size for m in two.inputs] == [(16, 16)] * 2
    with pytest.raises(BadArgument, match="found the splits train, test; name one"):
        list(read(SourceConfig(path=str(folder / "splits"), **options)))
    with pytest.raises(BadArgument, match="`tset` is not a split of this data set; did you mean `test`"):
        list(read(SourceConfig(path=str(folder / "splits"), split="tset", **options)))
    (folder / "broken.parquet").write_bytes(b"no table")
    with pytest.raises(BadArgument, match="found no data set at"):
        list(read(SourceConfig(path=str(folder / "broken.parquet"))))


def test_what_cannot_be_told_apart_is_refused(folder: Path) -> None:
    with pytest.raises(BadArgument, match="cannot tell the format"):
        detect(SourceConfig(path=str(folder / "a.png")))
    with pytest.raises(BadArgument, match="found no .*gone.jsonl, expected a data set"):
        list(read(SourceConfig(path=str(folder / "gone.jsonl"))))
