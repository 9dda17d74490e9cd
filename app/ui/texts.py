"""Text from visitors and from models, made safe for Markdown."""

from __future__ import annotations


def literal(text: str) -> str:
    """Text that Markdown shows as it was typed.

    Args:
        text: anything.

    Returns:
        Markdown.
    """
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:&" else c for c in text)
    return escaped.replace("\n", "  \n")


def model_markdown(text: str) -> str:
    """What a model wrote, with its formatting, but without pictures from elsewhere and page directives.

    Args:
        text: of the model.

    Returns:
        Markdown.
    """
    return text.replace("![", "!\\[").replace("$", "\\$").replace(":material/", "\\:material/")
