"""Stands in for the engine process where its faults matter: does what the request's text says."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from typing import Any

from anygen.app.engine.child import channel
from anygen.app.engine.types import Cancelled, Done, Started, TextDelta, to_json


def main() -> None:
    orders, send = channel()
    work: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    asked: set[str] = set()

    def read() -> None:
        for order in orders:
            if order["do"] == "cancel":
                asked.add(order["ticket"])
            else:
                work.put(order)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    load = work.get()
    while load["do"] == "import":
        load = work.get()
    if load["model"] == "missing":
        send({"say": "fatal", "sentence": "There is no such model; name another.", "details": "missing_part"})
        return
    if load["model"] == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    send({"say": "ready", "facts": {"name": load["model"]}})
    while True:
        order = work.get()
        text, ticket = order["request"]["conversation"][0]["content"], order["ticket"]

        def say(event: Any, ticket: str = ticket) -> None:
            send({"say": "event", "ticket": ticket, "event": to_json(event)})

        say(Started())
        say(TextDelta(text=f"{text}!"))
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while text in ("wait", "deaf") and (text == "deaf" or ticket not in asked):
            time.sleep(0.01)
        say(Cancelled() if ticket in asked else Done(seconds=0.0))


if __name__ == "__main__":
    main()
