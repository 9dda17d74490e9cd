"""Any-to-any generation: any mix of text, image, audio, video, depth, thermal and IMU in, text and media out.

Every name is imported when it is first used, so that `import anygen` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import AnyGenConfig
    from .errors import (
        AnyGenError,
        BadArgument,
        BadMedia,
        BadText,
        Cancelled,
        CheckpointCorrupt,
        LimitExceeded,
        MissingPart,
        NonFinite,
        OutOfMemory,
        WeightsMismatch,
    )
    from .media import IMU, Audio, Depth, MediaLimits, Thermal, Video, load_media, save_media
    from .messages import MediaPart, Message, TextPart
    from .modality import Modality
    from .pipelines.any_to_any import AnyGenPipeline
    from .pipelines.embedding import EmbeddingPipeline
    from .pipelines.reply import Reply

__all__ = [
    "IMU",
    "AnyGenConfig",
    "AnyGenError",
    "AnyGenPipeline",
    "Audio",
    "BadArgument",
    "BadMedia",
    "BadText",
    "Cancelled",
    "CheckpointCorrupt",
    "Depth",
    "EmbeddingPipeline",
    "LicenceNotAccepted",
    "LimitExceeded",
    "MediaLimits",
    "MediaPart",
    "Message",
    "MissingPart",
    "Modality",
    "NonFinite",
    "OutOfMemory",
    "Reply",
    "TextPart",
    "Thermal",
    "Video",
    "WeightsMismatch",
    "load_media",
    "save_media",
]

_HOMES = {
    "AnyGenConfig": "config",
    "AnyGenPipeline": "pipelines.any_to_any",
    "EmbeddingPipeline": "pipelines.embedding",
    "Modality": "modality",
    "Reply": "pipelines.reply",
    **dict.fromkeys(("MediaPart", "Message", "TextPart"), "messages"),
    **dict.fromkeys(
        ("IMU", "Audio", "Depth", "MediaLimits", "Thermal", "Video", "load_media", "save_media"), "media"
    ),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("anygen-multimodal")
    if name not in __all__:
        raise AttributeError(f"module 'anygen' has no attribute '{name}'")
    value = getattr(import_module(f"anygen.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
