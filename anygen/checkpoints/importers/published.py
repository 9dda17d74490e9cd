"""Hashes of published checkpoints, so that a file can be told from a damaged or a foreign one."""

from __future__ import annotations

from anygen.errors import CheckpointCorrupt

from .safe import Source

PUBLISHED: dict[str, str] = {
    "d6f6c22bedcc90708448d5d2fbb7b2db9c73f505dc89bd0b2e09b23af1b62157": "imagebind_huge.pth",
    "cea8687be774e977457a9f25f7b5efbeb09c3d81c3a2c44f3d62ae4622b0a0d4": "NExT-GPT 7b_tiva_v0, 742ef41",
    "652f9a6d3a8f7481d6e82cfb8499cabb064244e0798fac48124487d4ccf17ee7": "NExT-GPT 7b_tiva_v0, 071102b",
    "8f197e381254139cbb972aa37a219fd296b3ce80a45989073de8bd8c68a82327": "NExT-GPT 7b_tiva_v0, f28bea3",
    "3ac9eaedddafed4708bc734d7969c76ae132d29966392e26c6a29b4e740bd4e7": "LanguageBind_Audio, 610e1b1",
}
"""What each SHA-256 is, as the hub's file pages state it."""


def published_name(source: Source) -> str | None:
    """Say which published file this is.

    Args:
        source: an opened checkpoint.

    Returns:
        Its name, or None for a file whose hash is not known here.
    """
    return PUBLISHED.get(source.sha256)


def require_published(source: Source) -> None:
    """Refuse a file that is not one of the published ones.

    Args:
        source: an opened checkpoint.

    Raises:
        CheckpointCorrupt: when its hash is not known here.
    """
    if published_name(source) is None:
        raise CheckpointCorrupt(
            f"{source.path.name} has the SHA-256 {source.sha256}, which is none of the published files'; "
            "fetch it again, or give the hash that you trust"
        )
