"""`anygen app`: the pages in the browser."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from anygen.errors import BadArgument, MissingPart

from .common import (
    DEFAULT_MODEL,
    Command,
    note,
    number,
    prepare_folder,
)
from .licences import add_licence_argument, show_licences

MODEL_VARIABLE = "ANYGEN_APP_MODEL"
"""Environment variable that tells the served pages which model to load."""

WORKSPACE_VARIABLE = "ANYGEN_APP_WORKSPACE"
"""Environment variable that tells the served pages where chats and media are kept."""

DEFAULT_WORKSPACE = Path("~/.anygen/app")
UPLOAD_MEGABYTES, MESSAGE_MEGABYTES = 64, 100

LIGHT = {
    "primaryColor": "#c8452c",
    "backgroundColor": "#fbf9f5",
    "secondaryBackgroundColor": "#f1ede4",
    "textColor": "#23252e",
    "linkColor": "#a83a24",
    "borderColor": "#e2dccf",
    "codeBackgroundColor": "#f1ede4",
}
"""Warm paper, ink and vermilion."""

DARK = {
    "primaryColor": "#ff8264",
    "backgroundColor": "#15161a",
    "secondaryBackgroundColor": "#202228",
    "textColor": "#eceae4",
    "linkColor": "#ff9b82",
    "borderColor": "#34363e",
    "codeBackgroundColor": "#202228",
}
"""The same at night."""

SHARED = {
    "font": "sans-serif",
    "headingFont": "serif",
    "baseRadius": "0.7rem",
    "buttonRadius": "0.6rem",
    "showWidgetBorder": "true",
}
"""What holds in both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME", help="bundled name, folder or hub id"
    )
    parser.add_argument(
        "--port", type=number(int, 1, 65535), default=8501, metavar="P", help="port (default: 8501)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on (default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--workspace",
        type=Path,
        default=DEFAULT_WORKSPACE,
        metavar="DIR",
        help=f"where chats and media are kept (default: {DEFAULT_WORKSPACE})",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    add_licence_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no notes on stderr")


def run(arguments: argparse.Namespace) -> None:
    """Check what can be checked and become the server.

    Args:
        arguments: as declared above.

    Raises:
        MissingPart: streamlit is not installed, or there is no such model.
        LicenceNotAccepted: parts of the model restrict its use, and it was never accepted.
        BadArgument: the workspace cannot be written to.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise MissingPart("The app needs streamlit; install it with pip install 'anygen-multimodal[app]'.")
    from anygen.checkpoints.resolve import resolve

    resolve(arguments.model)
    show_licences(arguments)  # the pages cannot ask; what is accepted here, the engine finds accepted
    workspace = prepare_folder(arguments.workspace.expanduser())
    if arguments.host not in ("127.0.0.1", "localhost", "::1"):
        note(arguments, f"serving on {arguments.host}: whoever reaches this port can use the model")
    environment = {
        **os.environ,
        MODEL_VARIABLE: str(arguments.model),
        WORKSPACE_VARIABLE: str(workspace.resolve()),
    }
    command = server_command(port=arguments.port, host=arguments.host, browser=not arguments.no_browser)
    sys.stderr.flush()
    try:
        os.execve(sys.executable, command, environment)
    except OSError as error:
        raise BadArgument(
            f"Cannot start the server: {(error.strerror or 'unknown error').lower()}."
        ) from None


def server_command(*, port: int, host: str, browser: bool) -> list[str]:
    """Build the command line of the server.

    Args:
        port: TCP port.
        host: address to listen on.
        browser: whether to open a browser window.

    Returns:
        Program and arguments.
    """
    options: dict[str, object] = {
        "server.port": port,
        "server.address": host,
        "server.headless": str(not browser).lower(),
        "server.showEmailPrompt": "false",
        "server.maxUploadSize": UPLOAD_MEGABYTES,
        "server.maxMessageSize": MESSAGE_MEGABYTES,
        "server.fileWatcherType": "none",
        "server.runOnSave": "false",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "runner.magicEnabled": "false",
        **{f"theme.{name}": value for name, value in SHARED.items()},
        **{f"theme.light.{name}": value for name, value in LIGHT.items()},
        **{f"theme.dark.{name}": value for name, value in DARK.items()},
    }
    script = Path(__file__).parent / "ui" / "server.py"
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(script), *flags]


def environment_settings() -> tuple[str, Path]:
    """Read what `run` left in the environment.

    Returns:
        The model's name and the workspace folder.
    """
    model = os.environ.get(MODEL_VARIABLE, DEFAULT_MODEL)
    workspace = Path(os.environ.get(WORKSPACE_VARIABLE, str(DEFAULT_WORKSPACE))).expanduser()
    return model, workspace


APP = Command(name="app", help="open the app in the browser", add_arguments=add_arguments, run=run)
