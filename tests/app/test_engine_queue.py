"""Turns, bounds, patience and restarts, with an engine process that does what requests say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anygen.app.engine.client import EngineClient
from anygen.app.engine.turns import FairQueue
from anygen.app.engine.types import (
    Busy,
    Cancelled,
    Done,
    Failed,
    GenerateRequest,
    Limits,
    Queued,
    Started,
    TextDelta,
    Ticket,
)

Start = Callable[..., EngineClient]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    clients: list[EngineClient] = []

    def begin(model: str = "odd", *, ready: bool = True, **limits: Any) -> EngineClient:
        limits = {"spare_after": -1, **limits}
        client = EngineClient(model, tmp_path / "media", Limits(**limits), worker="odd_worker")
        clients.append(client)
        if ready:
            assert client.wait_ready(60)
        return client

    yield begin
    for client in clients:
        client.close()


def ask(client: EngineClient, session: str, text: str) -> Ticket:
    ticket = client.submit(request(session, text))
    assert isinstance(ticket, Ticket)
    return ticket


def request(session: str, text: str) -> GenerateRequest:
    return GenerateRequest(session=session, conversation=[{"role": "user", "content": text}])


def last(client: EngineClient, ticket: Ticket) -> Any:
    return list(client.follow(ticket, timeout=60))[-1]


def running(client: EngineClient, ticket: Ticket) -> None:
    for event in client.follow(ticket, timeout=60):
        if isinstance(event, TextDelta):
            return


def test_sessions_take_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "b2", "c1"):
        queue.put(item[0], item)
    order = queue.order()
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [queue.take() for _ in range(6)] == order
    assert queue.take() is None
    assert not queue.remove("a", "a1")


def test_events_of_a_request(start: Start) -> None:
    client = start()
    ticket = ask(client, "s", "hello")
    events = list(client.follow(ticket))
    assert [type(event) for event in events] == [Queued, Started, TextDelta, Done]
    assert client.events(ticket, after=2) == events[2:]
    assert list(client.follow(ticket, after=3)) == events[3:]
    assert not client.cancel(ticket)


def test_an_unknown_ticket_says_so(start: Start) -> None:
    client = start()
    (event,) = client.events("none")
    assert isinstance(event, Failed)
    assert event.code == "unknown"
    assert list(client.follow("none")) == [event]


def test_bounds_are_answered_politely(start: Start) -> None:
    client = start(sessions=2, requests=2)
    running(client, ask(client, "a", "wait"))
    ask(client, "a", "wait")
    ask(client, "b", "wait")
    own, full = client.submit(request("a", "x")), client.submit(request("c", "x"))
    assert isinstance(own, Busy) and own.ahead == 2 and "wait for one or stop one" in own.sentence
    assert isinstance(full, Busy) and full.ahead == 3 and "3 requests are ahead" in full.sentence
    assert client.status().queued == 2
    assert client.status().sessions == 2


def test_positions_and_fair_turns(start: Start) -> None:
    client = start()
    first = ask(client, "a", "wait")
    running(client, first)
    others = [ask(client, session, "hello") for session in ("a", "a", "b")]
    assert [t.ahead for t in others] == [1, 2, 3]
    positions = [[e.position for e in client.events(t) if isinstance(e, Queued)] for t in others]
    assert positions == [[1], [2, 3], [2]]  # b goes before a's second
    client.cancel(first)
    assert all(isinstance(last(client, t), Done) for t in others)


def test_cancel_waiting_and_running(start: Start) -> None:
    client = start()
    first, second = ask(client, "a", "wait"), ask(client, "a", "hello")
    running(client, first)
    assert client.cancel(second)
    assert client.events(second)[-1] == Cancelled(parts=[])
    assert client.cancel(first)
    assert last(client, first) == Cancelled(parts=[{"type": "text", "text": "wait!"}])
    assert isinstance(last(client, ask(client, "a", "hello")), Done)


def test_death_fails_one_request_and_the_next_works(start: Start) -> None:
    client = start()
    first, second = ask(client, "a", "die"), ask(client, "b", "hello")
    event = last(client, first)
    assert isinstance(event, Failed)
    assert event.code == "engine_died"
    assert "ask once more" in event.sentence
    assert event.parts == [{"type": "text", "text": "die!"}]
    assert isinstance(last(client, second), Done)
    assert client.status().restarts == 1


def test_a_spare_takes_over(start: Start) -> None:
    client = start(spare_after=0)
    spare = _soon(lambda: client._supervisor._spare)
    pid = client.status().pid or 0
    os.kill(pid, signal.SIGKILL)
    assert _soon(lambda: client.status().pid not in (pid, None))
    assert client.status().pid == spare.pid
    assert isinstance(last(client, ask(client, "a", "hello")), Done)


def test_deadlines(start: Start) -> None:
    client = start(deadline_seconds=0.2, wait_seconds=0.1)
    first, second = ask(client, "a", "wait"), ask(client, "b", "wait")
    late, waited = last(client, first), last(client, second)
    assert isinstance(late, Failed) and late.code == "deadline" and late.parts
    assert isinstance(waited, Failed) and waited.code == "waited_too_long"


def test_an_engine_that_does_not_stop_is_started_again(start: Start) -> None:
    client = start(stop_seconds=0.2)
    ticket = ask(client, "a", "deaf")
    running(client, ticket)
    client.cancel(ticket)
    assert isinstance(last(client, ticket), Cancelled)
    assert isinstance(last(client, ask(client, "a", "hello")), Done)
    assert client.status().restarts == 1


def test_a_silent_engine_is_started_again(start: Start) -> None:
    client = start(heartbeat_seconds=0.5)
    event = last(client, ask(client, "a", "deaf"))
    assert isinstance(event, Failed) and event.code == "engine_died"


def test_a_model_that_is_missing(start: Start) -> None:
    client = start("missing", ready=False)
    ticket = ask(client, "a", "hello")
    event = last(client, ticket)
    assert isinstance(event, Failed)
    assert event.sentence == "There is no such model; name another."
    assert not client.wait_ready(60)
    assert client.status().state == "failed"
    assert isinstance(last(client, ask(client, "a", "hello")), Failed)


def test_an_engine_that_always_dies_is_given_up(start: Start) -> None:
    client = start("deadly", ready=False)
    assert not client.wait_ready(60)
    assert "again and again" in client.status().message
    client.restart()
    assert not client.wait_ready(60)


def test_forget_a_session(start: Start) -> None:
    client = start()
    stored = client.workspace.add_file("a", b"\x89PNG", "image")
    client.workspace.folder("a", "temporary").joinpath("x").write_text("x")
    first, second, other = ask(client, "a", "wait"), ask(client, "a", "hello"), ask(client, "b", "hello")
    running(client, first)
    client.forget_session("a")
    assert not (client.workspace.root / "a" / "temporary").exists()
    assert stored.path.exists()
    assert [e.code for e in client.events(first) + client.events(second) if isinstance(e, Failed)] == [
        "unknown"
    ] * 2
    assert isinstance(last(client, other), Done)
    client.forget_session("a", media=True)
    assert not (client.workspace.root / "a").exists()


def test_silent_sessions_and_old_tickets_are_forgotten(start: Start) -> None:
    client = start(idle_seconds=0.2, keep_seconds=0.2)
    ticket = ask(client, "a", "hello")
    last(client, ticket)
    place = client.workspace.folder("a", "temporary")
    assert _soon(lambda: not place.exists())
    assert isinstance(client.events(ticket)[0], Failed)


def test_uploads_go_when_the_last_page_is_closed(start: Start) -> None:
    client = start(away_seconds=0.3)
    for _ in range(2):
        client.arrive("a")
    place = client.workspace.folder("a", "temporary")
    place.joinpath("x").write_text("x")
    client.leave("a")
    time.sleep(1.0)
    assert place.joinpath("x").exists()
    client.leave("a")
    assert _soon(lambda: not place.exists())


def test_a_page_that_comes_back_finds_its_uploads(start: Start) -> None:
    client = start(away_seconds=0.5)
    client.arrive("a")
    place = client.workspace.folder("a", "temporary")
    client.leave("a")
    client.arrive("a")
    time.sleep(1.5)
    assert place.exists()


def test_an_answer_is_finished_for_who_has_left(start: Start) -> None:
    client = start(away_seconds=0.1)
    client.arrive("a")
    ticket = ask(client, "a", "wait")
    running(client, ticket)
    client.leave("a")
    time.sleep(1.0)
    assert client.cancel(ticket)
    assert isinstance(last(client, ticket), Cancelled)


def test_events_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    seen: list[str] = []
    done = threading.Event()

    def record(ticket: Ticket, event: Any) -> None:
        seen.append(type(event).__name__)
        if isinstance(event, Done):
            done.set()
        raise ValueError("a fault of the recorder")

    limits = Limits(spare_after=-1)
    with EngineClient("odd", tmp_path, limits, on_event=record, worker="odd_worker") as client:
        ask(client, "a", "hello")
        assert done.wait(60)
    assert seen == ["Queued", "Started", "Done"]


def test_close_fails_what_waits(start: Start) -> None:
    client = start()
    ticket = ask(client, "a", "wait")
    running(client, ticket)
    client.close()
    client.close()
    event = client.events(ticket)[-1]
    assert isinstance(event, Failed) and event.code == "closed"
    assert isinstance(last(client, ask(client, "a", "hello")), Failed)


def test_the_parent_never_loads_torch() -> None:
    code = (
        "import sys, anygen.app.engine.client, anygen.app.store\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engine_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from anygen.app.engine.client import EngineClient\n"
        "from anygen.app.engine.types import Limits\n"
        "client = EngineClient('odd', sys.argv[1], Limits(spare_after=-1), worker='odd_worker')\n"
        "assert client.wait_ready(60)\n"
        "print(client.status().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, env=environment, check=False
    )
    pid = int(done.stdout)
    assert _soon(lambda: not _alive(pid))


def _soon(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
