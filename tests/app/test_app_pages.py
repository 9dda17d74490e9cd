"""The app's parts that need neither a model nor a browser."""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hostile_files import Hostile, hostile_files

from anygen.app import command_app
from anygen.app.cli import build_parser, main
from anygen.app.engine import types
from anygen.app.engine.workspace import Workspace
from anygen.app.store import Turn
from anygen.app.ui.chat_requests import answerable, is_too_long, without_oldest
from anygen.app.ui.chat_runs import Piece, Run
from anygen.app.ui.chat_uploads import Problem, Upload, shown_name, take_uploads
from anygen.app.ui.texts import literal, model_markdown
from anygen.app.ui.workspace import COOKIE, WorkspaceCookie, is_workspace_id, new_workspace_id

SESSION = "0" * 32


# --- the command -----------------------------------------------------------------------------------


def test_the_server_is_private_by_default() -> None:
    arguments = build_parser().parse_args(["app"])
    assert arguments.host == "127.0.0.1"
    command = command_app.server_command(port=arguments.port, host=arguments.host, browser=True)
    options = dict(part[2:].split("=", 1) for part in command if part.startswith("--"))
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] == "false"
    assert options["client.showErrorDetails"] == "none"
    assert int(options["server.maxUploadSize"]) <= 64


def test_streamlit_knows_every_option_it_is_given() -> None:
    pytest.importorskip("streamlit")
    from streamlit import config

    known = config.get_config_options()
    command = command_app.server_command(port=1, host="h", browser=False)
    assert {part[2:].split("=")[0] for part in command if part.startswith("--")} <= set(known)


def test_a_redraw_keeps_the_reply_that_an_upload_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("streamlit")
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

    from anygen.app.ui.upload_replies import keep_upload_replies

    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)
    keep_upload_replies()
    keep_upload_replies()
    for fragments in (None, ["fragment"]):
        messages = ForwardMsgQueue()
        reply, drawn = ForwardMsg(), ForwardMsg()
        reply.file_urls_response.response_id = "7"
        drawn.delta.fragment_id = "fragment"
        drawn.delta.new_element.markdown.body = "old"
        for message in (drawn, reply):
            messages.enqueue(message)
        messages.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=fragments)
        assert messages.flush() == [reply]
        assert messages.is_empty()


def test_a_model_that_does_not_exist_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "--model", "nonesuch"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_workspace_that_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["app", "--workspace", str(tmp_path / "file" / "folder")]) == 2
    assert "Cannot write to" in capsys.readouterr().err


def test_environment_tells_the_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(command_app.MODEL_VARIABLE, "some-model")
    monkeypatch.setenv(command_app.WORKSPACE_VARIABLE, str(tmp_path))
    assert command_app.environment_settings() == ("some-model", tmp_path)
    assert isinstance(build_parser().parse_args(["app", "--port", "9000"]), argparse.Namespace)


# --- whose page it is ------------------------------------------------------------------------------


def test_workspace_ids_are_long_random_and_safe_in_a_path() -> None:
    ids = {new_workspace_id() for _ in range(100)}
    assert len(ids) == 100 and all(is_workspace_id(i) for i in ids)
    for bad in ("", "../" + "0" * 29, "0" * 31, "0" * 33, "0" * 32 + "\n", "G" * 32, None, 7):
        assert not is_workspace_id(bad)


def _headers(path_type: bytes, cookie: str | None) -> dict[bytes, bytes]:
    sent: list[Any] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", path_type)]})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"cookie", cookie.encode())] if cookie else []
    scope = {"type": "http", "method": "GET", "headers": headers}
    asyncio.run(WorkspaceCookie(page)(scope, None, send))
    return dict(sent[0]["headers"])


def test_a_first_page_brings_a_cookie_that_scripts_cannot_read() -> None:
    cookie = _headers(b"text/html; charset=utf-8", None)[b"set-cookie"].decode()
    assert re.match(rf"{COOKIE}=[0-9a-f]{{32}};", cookie)
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_who_has_a_cookie_keeps_it_and_files_bring_none() -> None:
    assert b"set-cookie" not in _headers(b"text/html", f"{COOKIE}={'a' * 32}")
    assert b"set-cookie" not in _headers(b"image/png", None)
    assert b"set-cookie" in _headers(b"text/html", f"{COOKIE}=../../etc")


# --- uploads ---------------------------------------------------------------------------------------


class Sent:
    """A file as the page hands it over."""

    def __init__(self, hostile: Hostile) -> None:
        self.name, self._data = hostile.name, hostile.data

    def getvalue(self) -> bytes:
        return self._data


def test_sixty_hostile_uploads_each_give_a_plain_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = hostile_files()
    assert len(files) >= 60
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    workspace = Workspace(tmp_path / "inside" / "workspace")
    for hostile in files:
        uploads, problems = take_uploads(workspace, SESSION, [Sent(hostile)], modality=hostile.kind)
        assert len(uploads) + len(problems) == 1, hostile.label
        if hostile.refused is not None:
            assert bool(problems) == hostile.refused, (hostile.label, problems)
        for problem in problems:
            _check_sentence(problem, hostile)
        for upload in uploads:
            _check_upload(workspace, upload)
    assert {path.name for path in tmp_path.iterdir()} == {"inside", "scratch"}
    assert list(scratch.iterdir()) == []
    assert {path.name for path in (tmp_path / "inside").iterdir()} == {"workspace"}
    for path in (tmp_path / "inside").rglob("*"):
        assert re.fullmatch(r"[a-z0-9.-]+", path.name), path.name
    workspace.clear(SESSION)
    assert list((tmp_path / "inside" / "workspace").iterdir()) == []


def _check_sentence(problem: Problem, hostile: Hostile) -> None:
    words = problem.sentence
    assert 10 < len(words) < 300 and "\n" not in words, (hostile.label, words)
    assert not re.search(r"0x[0-9a-f]{4}|Traceback|/tmp|/home|site-packages|object at", words), words
    assert re.search(r"[;,] \w+", words), f"{hostile.label}: says nothing to do: {words}"


def _check_upload(workspace: Workspace, upload: Upload) -> None:
    stored = workspace.find(SESSION, upload.media_id)
    assert stored.path.is_file() and stored.path.stem == upload.media_id
    assert len(upload.name) <= 40 and "/" not in upload.name and upload.name.isprintable()


def test_names_are_shown_without_folders_and_short() -> None:
    assert shown_name("../../etc/passwd.png") == "passwd.png"
    assert shown_name("C:\\Users\\me\\cat.png") == "cat.png"
    assert shown_name("a\u202eb\x00c.png") == "abc.png"
    assert len(shown_name("x" * 5000 + ".png")) == 40


# --- text ------------------------------------------------------------------------------------------


def test_what_a_visitor_types_is_shown_as_typed() -> None:
    assert literal("*a* $x$ <b>") == "\\*a\\* \\$x\\$ \\<b\\>"
    assert literal("a\nb") == "a  \nb"


def test_what_a_model_writes_fetches_nothing() -> None:
    assert "![" not in model_markdown("look ![x](http://example.org/a.png)")
    assert model_markdown("**bold**") == "**bold**"


# --- answers in the making -------------------------------------------------------------------------


def turn(role: str, *parts: dict[str, Any], state: str = "done") -> Turn:
    return Turn(id=f"t{id(parts)}", parent=None, role=role, parts=list(parts), state=state)


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def test_a_run_collects_what_comes() -> None:
    request = types.GenerateRequest(session=SESSION, conversation=[], variations=2)
    run = Run(turn("assistant"), request)
    run.take(types.Queued(position=3))
    assert run.view().position == 3
    run.take(types.Started())
    assert run.view().position is None and run.view().variations == {}
    run.take(types.TextDelta(text="Here "))
    run.take(types.TextDelta(text="it is"))
    run.take(types.MediaStarted(modality="image", index=1))
    run.take(types.MediaProgress(modality="image", index=1, step=2, total=8, preview="p.png"))
    run.take(types.MediaProgress(modality="image", index=1, step=3, total=8))
    text, image = run.view().variations[0].values()
    assert text.text == "Here it is"
    assert (image.step, image.total, image.preview) == (3, 8, "p.png")
    assert run.answers() == [[words("Here it is")]]
    run.take(
        types.MediaFinished(modality="image", index=1, media_id="image-1", path="i.png", mime="image/png")
    )
    run.take(types.TextDelta(text="Another", variation=1))
    first, second = run.answers()
    assert first[1] == {"type": "image", "media_id": "image-1", "settings": {}}
    assert second == [words("Another")]


def test_what_is_shown_stays_in_its_place_when_a_medium_begins_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("streamlit")
    from streamlit.testing.v1 import AppTest

    from anygen.app.ui import chat_live

    run = Run(turn("assistant"), types.GenerateRequest(session=SESSION, conversation=[]))
    run.take(types.TextDelta(text="Here is one."))
    run.take(types.TextDelta(text="And a sound.", index=2))
    monkeypatch.setattr(chat_live, "runs", lambda: SimpleNamespace(get=lambda _: run, cancel=None))
    page = AppTest.from_string("from anygen.app.ui.chat_live import live_answer\nlive_answer('t')")

    def places() -> dict[str, list[int]]:
        """Where each paragraph stands, as the browser is told: numbers from the root down."""
        found: dict[str, list[int]] = {}

        def note(block: Any, path: list[int]) -> None:
            for place, child in block.children.items():
                if hasattr(child, "children"):
                    note(child, [*path, place])
                elif child.type == "markdown":
                    found[child.value] = [*path, place]

        note(page.run()._tree[0], [])
        return found

    before = places()
    assert len(before) == 2
    run.take(types.MediaStarted(modality="image", index=1))
    assert places() == before


def test_progress_is_told_in_words() -> None:
    pytest.importorskip("streamlit")
    from anygen.app.ui.chat_live import progress_words

    assert progress_words(Piece(modality="audio")) == "Sound: getting ready"
    piece = Piece(modality="video", step=5, total=25, seconds_left=3.2)
    assert progress_words(piece) == "Video: step 5 of 25, about 3 s left"
    piece.seconds_left = 0.2
    assert progress_words(piece).endswith("less than 1 s left")
    piece.seconds_left = 300
    assert progress_words(piece).endswith("about 5 min left")
    piece.step = 25
    assert progress_words(piece) == "Video: finishing"


def test_a_conversation_leaves_out_what_came_to_nothing() -> None:
    image = {"type": "image", "media_id": "image-1", "name": "cat.png", "settings": {"seed": 1}}
    turns = [
        turn("user", words("first")),
        turn("assistant", state="failed"),
        turn("user", image, words("second")),
        turn("assistant", words("  "), state="stopped"),
        turn("user", words("third")),
        turn("assistant", words("fine"), image),
        turn("user", words("fourth")),
    ]
    messages = answerable(turns)
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == [words("fine"), {"type": "image", "media_id": "image-1"}]


def test_a_chat_goes_on_without_what_was_deleted() -> None:
    image, sound = ({"type": kind, "media_id": f"{kind}-1"} for kind in ("image", "audio"))
    turns = [
        turn("user", image),
        turn("assistant", words("a ring")),
        turn("user", sound, words("and this?")),
        turn("assistant", words("here it is"), image),
        turn("user", image, words("bigger")),
    ]
    messages = answerable(turns, gone={"image-1"})
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"] == [sound, words("and this?")]
    assert messages[1]["content"] == [words("here it is")]
    assert messages[2]["content"] == [image, words("bigger")]  # what is asked about now must be there


def test_a_chat_that_is_too_long_loses_its_oldest_turns() -> None:
    failed = types.Failed(sentence="the conversation takes 900 tokens; shorten it", code="limit_exceeded")
    assert is_too_long(failed)
    assert not is_too_long(types.Failed(sentence="the conversation broke", code="internal"))
    talk = [{"role": r, "content": [words(r)]} for r in ("user", "assistant", "user", "assistant", "user")]
    shorter = without_oldest(talk)
    assert [m["role"] for m in shorter] == ["user", "assistant", "user"]
    assert len(without_oldest(shorter)) == 1
