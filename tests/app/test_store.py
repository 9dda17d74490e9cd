"""Chats, branches, media records, and chats in files."""

from __future__ import annotations

import io
import json
import sqlite3
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from anygen.app import saved_chats
from anygen.app.engine.workspace import Workspace
from anygen.app.store import Store
from anygen.errors import BadArgument, BadMedia, LimitExceeded


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    place = Workspace(tmp_path / "media")
    yield place
    place.close()


@pytest.fixture
def store(tmp_path: Path, workspace: Workspace) -> Iterator[Store]:
    opened = Store(tmp_path / "chats.sqlite", workspace)
    yield opened
    opened.close()


def text(words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words}]


def words(store: Store, session: str, chat: str) -> list[str]:
    return [turn.parts[0]["text"] for turn in store.turns(session, chat)]


def test_chats_survive_a_restart(tmp_path: Path, workspace: Workspace, store: Store) -> None:
    first, second = store.new_chat("me", "First"), store.new_chat("me", "x" * 300)
    store.add_turn("me", first.id, "user", text("Hello"), settings={"seed": 1})
    store.set_setting("me", "theme", {"dark": True})
    store.close()
    again = Store(tmp_path / "chats.sqlite", workspace)
    assert [chat.title for chat in again.chats("me")] == ["First", "x" * 200]
    (turn,) = again.turns("me", first.id)
    assert (turn.role, turn.parts, turn.settings, turn.state) == ("user", text("Hello"), {"seed": 1}, "done")
    assert again.get_setting("me", "theme") == {"dark": True}
    assert again.get_setting("you", "theme", "none") == "none"
    again.rename_chat("me", second.id, "Second")
    again.rename_chat("you", second.id, "Mine")
    assert again.chat("me", second.id).title == "Second"
    again.delete_chat("you", second.id)
    again.delete_chat("me", first.id)
    assert [chat.id for chat in again.chats("me")] == [second.id]
    again.close()


def test_nobody_sees_the_chats_of_others(store: Store) -> None:
    chat = store.new_chat("me").id
    turn = store.add_turn("me", chat, "user", text("secret")).id
    assert store.chats("you") == []
    calls: list[Callable[[], object]] = [
        lambda: store.chat("you", chat),
        lambda: store.turns("you", chat),
        lambda: store.turn("you", turn),
        lambda: store.add_turn("you", chat, "user", text("x")),
        lambda: store.update_turn("you", turn, state="failed"),
        lambda: store.switch("you", turn),
        lambda: store.branches("you", turn),
        lambda: store.undo("you", chat),
        lambda: store.save_chat("you", chat),
    ]
    for call in calls:
        with pytest.raises(BadArgument, match="not \\(or no longer\\) here"):
            call()
    with pytest.raises(BadArgument, match="parent of another chat"):
        store.add_turn("me", store.new_chat("me").id, "user", text("x"), parent=turn)
    with pytest.raises(BadArgument, match="found the role 'cat'"):
        store.add_turn("me", chat, "cat", text("x"))
    with pytest.raises(BadArgument, match="found the state 'tired'"):
        store.update_turn("me", turn, state="tired")


def test_branches_undo_and_redo(store: Store) -> None:
    chat = store.new_chat("me").id
    question = store.add_turn("me", chat, "user", text("q"))
    first = store.add_turn("me", chat, "assistant", text("a1"), state="running")
    store.update_turn("me", first.id, parts=text("A1"), state="done")
    store.add_turn("me", chat, "user", text("more"))
    second = store.add_turn("me", chat, "assistant", text("a2"), parent=question.id)
    assert words(store, "me", chat) == ["q", "a2"]
    assert store.branches("me", second.id) == [first.id, second.id]
    store.switch("me", first.id)
    assert words(store, "me", chat) == ["q", "A1", "more"]
    store.undo("me", chat)
    assert words(store, "me", chat) == ["q", "A1"]
    store.undo("me", chat)
    assert words(store, "me", chat) == []
    store.undo("me", chat)
    store.redo("me", chat)
    assert words(store, "me", chat) == ["q", "A1"]
    store.redo("me", chat)
    store.redo("me", chat)
    assert words(store, "me", chat) == ["q", "A1", "more"]
    store.undo("me", chat)
    store.add_turn("me", chat, "user", text("other"))
    store.redo("me", chat)
    assert words(store, "me", chat) == ["q", "A1", "other"]
    edited = store.add_turn("me", chat, "user", text("q2"), parent=None)
    assert words(store, "me", chat) == ["q2"]
    assert store.branches("me", edited.id) == [question.id, edited.id]


def test_a_conversation_leaves_out_what_cannot_be_asked(store: Store, workspace: Workspace) -> None:
    chat = store.new_chat("me").id
    kept, gone = (workspace.add("me", Image.new("RGB", (16, 16))) for _ in range(2))
    part = {"type": "image", "media_id": kept.id, "settings": {"seed": 1}}
    store.add_turn("me", chat, "user", text("failed"))
    store.add_turn("me", chat, "assistant", [], state="failed")
    first = store.add_turn("me", chat, "user", [part, {"type": "image", "media_id": gone.id}])
    store.add_turn("me", chat, "assistant", text("A picture."))
    workspace.delete("me", gone.id)
    expected = [{"role": "user", "content": [{"type": "image", "media_id": kept.id}]}]
    assert store.conversation("me", chat, until=first.id) == expected
    assert [message["role"] for message in store.conversation("me", chat)] == ["user", "assistant"]


def test_media_records(store: Store, workspace: Workspace) -> None:
    image, other = (workspace.add("me", Image.new("RGB", (16, 16))) for _ in range(2))
    store.add_media("me", image.id, settings={"seed": 1})
    store.add_media("me", image.id, settings={"seed": 2})
    record = store.add_media("me", other.id, origin="given")
    assert record.path == str(other.path)
    assert [r.id for r in store.media("me")] == [other.id, image.id]
    assert [r.settings for r in store.media("me", origin="made")] == [{"seed": 1}]
    assert store.media("me", modality="audio") == store.media("you") == []
    assert len(store.media("me", limit=1)) == 1
    for call in (lambda: store.add_media("you", image.id), lambda: store.media_record("you", image.id)):
        with pytest.raises(BadArgument, match="not \\(or no longer\\) here"):
            call()
    store.delete_media("you", image.id)
    assert image.path.exists()
    store.delete_media("me", image.id)
    assert not image.path.exists()
    assert [r.id for r in store.media("me")] == [other.id]


def test_a_chat_in_a_file(store: Store, workspace: Workspace) -> None:
    chat = store.new_chat("me", "Mine").id
    image = workspace.add("me", Image.new("RGB", (16, 16), "red"), tags={"anygen": "{}"})
    store.add_media("me", image.id, settings={"seed": 5})
    question = store.add_turn("me", chat, "user", text("Draw"))
    picture = {"type": "image", "media_id": image.id, "settings": {"seed": 5}}
    store.add_turn("me", chat, "assistant", [*text("Here"), picture], settings={"seed": 5})
    store.add_turn("me", chat, "assistant", text("Or not"), parent=question.id, state="running")
    data = store.save_chat("me", chat)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sorted(archive.namelist()) == ["chat.json", f"media/{image.id}.png"]
    loaded = store.load_chat("you", data)
    assert loaded.title == "Mine"
    assert words(store, "you", loaded.id) == ["Draw", "Or not"]
    asked, here, stopped = store.all_turns("you", loaded.id)
    assert stopped.state == "stopped" and here.settings == {"seed": 5}
    (record,) = store.media("you")
    assert record.id == here.parts[1]["media_id"] != image.id
    assert record.settings == {"seed": 5} and record.origin == "made"
    assert Path(record.path).read_bytes() == image.path.read_bytes()
    assert {asked.id, here.id, stopped.id}.isdisjoint(t.id for t in store.all_turns("me", chat))


def saved(**changes: Any) -> dict[str, Any]:
    turn = {"id": "0" * 20, "parent": None, "role": "user", "parts": text("x"), "settings": {},
            "state": "done", "created": 1.0}  # fmt: skip
    turn |= changes.pop("turn", {})
    return {"format": "anygen-chat", "version": 1, "title": "t", "head": None, "turns": [turn], "media": {},
            **changes}  # fmt: skip


def archive(record: Any, files: dict[str, bytes] | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("chat.json", record if isinstance(record, str) else json.dumps(record))
        for name, content in (files or {}).items():
            out.writestr(name, content)
    return buffer.getvalue()


NAME = "media/image-" + "0" * 20 + ".png"
ABOUT = {"image-" + "0" * 20: {"settings": {}, "origin": "made"}}
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no zip": b"hello",
    "cut off": archive(saved())[:-30],
    "no chat": archive(saved()).replace(b"chat.json", b"chat.jsox"),
    "no JSON": archive("{"),
    "a list": archive([]),
    "deep": archive("[" * 100_000),
    "NaN": archive(json.dumps(saved()).replace("1.0", "NaN")),
    "another format": archive(saved(format="zip")),
    "a later version": archive(saved(version=2)),
    "no turns": archive(saved(turns=None)),
    "a role": archive(saved(turn={"role": "system"})),
    "a parent": archive(saved(turn={"parent": "1" * 20})),
    "an id": archive(saved(turn={"id": "../x"})),
    "its own parent": archive(saved(turn={"parent": "0" * 20})),
    "a head": archive(saved(head="1" * 20)),
    "text": archive(saved(turn={"parts": [{"type": "text", "text": 5}]})),
    "NUL": archive(saved(turn={"parts": text("\0")})),
    "settings": archive(saved(turn={"settings": {"x": "y" * 70_000}})),
    "a path": archive(saved(), {"../x.png": b"x"}),
    "an absolute path": archive(saved(), {"/etc/x.png": b"x"}),
    "a script": archive(saved(), {"media/x.html": b"<script>"}),
    "not described": archive(saved(), {NAME: b"x"}),
    "no image": archive(saved(media=ABOUT), {NAME: b"hello"}),
    "an image of another kind": archive(saved(media=ABOUT), {NAME: b"GIF89a"}),
    "an origin": archive(saved(media={"image-" + "0" * 20: {"settings": {}, "origin": "x"}}), {NAME: b"x"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name: str, store: Store, workspace: Workspace) -> None:
    with pytest.raises(BadMedia):
        store.load_chat("me", HOSTILE[name])
    assert store.chats("me") == [] and store.media("me") == []
    assert not [path for path in workspace.root.rglob("*") if path.is_file()]


def test_large_files_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitExceeded, match="1001 files"):
        store.load_chat("me", archive(saved(), {f"{i}": b"" for i in range(1000)}))
    with pytest.raises(LimitExceeded, match="larger than it may be"):
        store.load_chat("me", archive(saved(title="x" * 9_000_000)))
    with pytest.raises(LimitExceeded, match="5001 turns"):
        store.load_chat("me", archive(saved(turns=[{}] * 5001)))
    with pytest.raises(LimitExceeded, match="more than 200 parts"):
        store.load_chat("me", archive(saved(turn={"parts": text("x") * 201})))
    monkeypatch.setattr(saved_chats, "MOST_BYTES", 100)
    with pytest.raises(LimitExceeded, match="MiB unpacked"):
        store.load_chat("me", archive(saved()))


def test_many_threads(store: Store) -> None:
    chat = store.new_chat("me").id

    def write(number: int) -> None:
        for step in range(5):
            store.add_turn("me", chat, "user", text(f"{number} {step}"))
            store.set_setting("me", f"{number}", step)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.turns("me", chat)) == 40
    assert [store.get_setting("me", f"{number}") for number in range(8)] == [4] * 8


def test_files_that_are_no_store(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "x.sqlite").write_text("hello, this is no database at all" * 100)
    with pytest.raises(BadArgument, match="cannot open 'x.sqlite'"):
        Store(tmp_path / "x.sqlite", workspace)
    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(BadArgument, match="version 99, expected at most 1"):
        Store(tmp_path / "new.sqlite", workspace)
