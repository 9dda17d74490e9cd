"""Keeps the server's replies to uploads: without it a file that is dropped during a redraw vanishes.

Before a browser sends a file, it asks where to. When a page begins to be drawn anew, Streamlit drops what it
has not sent yet, and the reply with it: the browser waits for it forever, and shows nothing.
"""

from __future__ import annotations

from functools import wraps

from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

_REPLY = "file_urls_response"


def keep_upload_replies() -> None:
    """Let no redraw drop a reply that a browser waits for; a second call changes nothing."""
    drop = ForwardMsgQueue.clear
    if hasattr(drop, "__wrapped__"):
        return

    @wraps(drop)
    def clear(
        self: ForwardMsgQueue,
        retain_lifecycle_msgs: bool = False,
        fragment_ids_this_run: list[str] | None = None,
    ) -> None:
        replies = [m for m in self._queue if retain_lifecycle_msgs and m.WhichOneof("type") == _REPLY]
        drop(self, retain_lifecycle_msgs, fragment_ids_this_run)
        kept = {id(message) for message in self._queue}
        self._queue = [*(reply for reply in replies if id(reply) not in kept), *self._queue]

    ForwardMsgQueue.clear = clear  # type: ignore[method-assign]
