"""Whose chats and media a visitor sees: a random id in a cookie, given with the first page."""

from __future__ import annotations

import re
import secrets
from http.cookies import SimpleCookie
from typing import Any

COOKIE = "anygen_workspace"
_VALID = re.compile(r"[0-9a-f]{32}")
_YEAR = 365 * 24 * 3600


def new_workspace_id() -> str:
    """Draw an id that nobody can guess.

    Returns:
        32 hexadecimal digits.
    """
    return secrets.token_hex(16)


def is_workspace_id(value: object) -> bool:
    """Whether a value has the form of an id, and so is safe as a part of a path.

    Args:
        value: what a browser sent.

    Returns:
        True for 32 hexadecimal digits.
    """
    return isinstance(value, str) and _VALID.fullmatch(value) is not None


class WorkspaceCookie:
    """ASGI middleware that hands a workspace cookie to browsers that bring none.

    Args:
        app: what answers.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request.

        Args:
            scope: the request, as ASGI has it.
            receive: brings its body.
            send: takes the answer.
        """
        if scope["type"] != "http" or scope["method"] != "GET" or _has_cookie(scope):
            await self.app(scope, receive, send)
            return

        async def send_with_cookie(message: Any) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                cookie = f"{COOKIE}={new_workspace_id()}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Lax"
                message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie.encode())]}
            await send(message)

        await self.app(scope, receive, send_with_cookie)


def _has_cookie(scope: Any) -> bool:
    for name, value in scope["headers"]:
        if name == b"cookie":
            found = SimpleCookie(value.decode("latin-1")).get(COOKIE)
            if found is not None and is_workspace_id(found.value):
                return True
    return False


def _is_page(message: Any) -> bool:
    headers = dict(message["headers"])
    return bool(headers.get(b"content-type", b"").startswith(b"text/html"))
