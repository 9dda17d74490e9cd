"""Sizes of the ImageBind towers: the published `imagebind-huge`, the bundled tiny one, and anything between.

Section 3 and appendix B of Girdhar et al. 2023 (ImageBind) give the architecture; the sizes are those of the
published checkpoint. A field `None` in `ImageBindConfig` means that the model has no such tower.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from anygen.errors import BadArgument, MissingPart
from anygen.modality import Modality

TOWER: dict[Modality, str] = {
    Modality.TEXT: "text",
    Modality.IMAGE: "vision",
    Modality.VIDEO: "vision",
    Modality.AUDIO: "audio",
    Modality.DEPTH: "depth",
    Modality.THERMAL: "thermal",
    Modality.IMU: "imu",
}
"""Which tower encodes which modality; image and video share one."""


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """The transformer that all towers have."""

    width: int
    """Width of the tokens."""
    num_blocks: int
    """Number of transformer blocks."""
    num_heads: int
    """Attention heads per block; divides `width`."""
    drop_path: float = 0.0
    """Stochastic depth of the last block; it grows linearly from 0 at the first."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.num_blocks < 1 or self.num_heads < 1 or self.width % self.num_heads:
            raise BadArgument(
                f"Found width={self.width}, num_blocks={self.num_blocks}, num_heads={self.num_heads}; "
                "expected positive numbers with num_heads dividing width."
            )


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig(TowerConfig):
    """Causal text tower, pooled at the first end-of-text token."""

    vocab_size: int = 49408
    """Rows of the token embedding."""
    context_length: int = 77
    """Tokens per text, start and end included; longer texts are cut before the end token."""
    start_token_id: int = 49406
    """Id put before every text."""
    end_token_id: int = 49407
    """Id put after every text; must be the largest id, since pooling looks for the maximum."""
    pad_token_id: int = 0
    """Id that fills the row behind the end token."""
    clean: bool = True
    """Repair the text as CLIP does (ftfy, HTML entities, white space, lower case) before tokenizing."""


@dataclass(frozen=True, kw_only=True)
class VisionTowerConfig(TowerConfig):
    """Image and video tower; an image is a clip whose frames are equal."""

    image_size: int = 224
    """Side of the square input in pixels."""
    patch_size: int = 14
    """Side of a patch in pixels."""
    num_frames: int = 2
    """Frames per clip, the temporal extent of a patch."""
    num_clips: int = 5
    """Clips taken from a video."""
    clip_seconds: float = 2.0
    """Length of a clip in seconds."""
    num_crops: int = 3
    """Spatial crops per clip: 1 (centre) or 3 (along the longer side)."""
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    """Mean of the RGB channels, in 0..1."""
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    """Standard deviation of the RGB channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_crops not in (1, 3):
            raise BadArgument(f"Found num_crops={self.num_crops}; expected 1 or 3.")


@dataclass(frozen=True, kw_only=True)
class AudioTowerConfig(TowerConfig):
    """Audio tower over log-mel spectrograms."""

    num_mel_bins: int = 128
    """Height of the spectrogram."""
    target_frames: int = 204
    """Width of the spectrogram: frames of 10 ms, cut or padded."""
    kernel_size: tuple[int, int] = (16, 16)
    """Patch extent in mel bins and frames."""
    stride: tuple[int, int] = (10, 10)
    """Patch distance in mel bins and frames."""
    sample_rate: int = 16000
    """Samples per second that the spectrogram is computed at."""
    num_clips: int = 3
    """Clips taken from a recording."""
    clip_seconds: float = 2.0
    """Length of a clip in seconds."""
    mean: float = -4.268
    """Mean of the log-mel values."""
    std: float = 9.138
    """Standard deviation of the log-mel values."""
    scale: float = 20.0
    """Factor after normalisation in `forward`; a buffer of the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class DepthTowerConfig(TowerConfig):
    """Depth tower over normalised disparity maps."""

    image_size: int = 224
    """Side of the square input in pixels."""
    patch_size: int = 16
    """Side of a patch in pixels."""
    baseline: float = 0.075
    """Distance of the two eyes in metres, for disparity = baseline * focal_length / depth (Kinect)."""
    focal_length: float = 518.857901
    """Focal length in pixels, likewise (Kinect v1, NYU-D calibration)."""
    max_disparity: float = 75.0
    """Disparity is clamped to 0.01..this and divided by it."""
    mean: float = 0.0418
    """Mean of the scaled disparity."""
    std: float = 0.0295
    """Standard deviation of the scaled disparity."""
    scale: float = 5.0
    """Factor after normalisation in `forward`."""


@dataclass(frozen=True, kw_only=True)
class ThermalTowerConfig(TowerConfig):
    """Thermal tower over maps in 0..1, not normalised."""

    image_size: int = 224
    """Side of the square input in pixels."""
    patch_size: int = 16
    """Side of a patch in pixels."""
    mean: float = 0.0
    """Subtracted from the values; 0 at full size."""
    std: float = 1.0
    """The values are divided by it; 1 at full size."""
    scale: float = 10.0
    """Factor after normalisation in `forward`."""


@dataclass(frozen=True, kw_only=True)
class ImuTowerConfig(TowerConfig):
    """IMU tower over six channels: accelerometer x y z, gyroscope x y z."""

    num_samples: int = 2000
    """Length of the input."""
    kernel_size: int = 8
    """Samples per token; tokens do not overlap."""
    sample_rate: float = 400.0
    """Samples per second."""
    mean: tuple[float, ...] = (0.0,) * 6
    """Subtracted per channel; 0 at full size, since no statistics were published."""
    std: tuple[float, ...] = (1.0,) * 6
    """The channels are divided by it; 1 at full size."""
    head_dropout: float = 0.5
    """Dropout between the head's norm and its projection."""
    scale: float = 5.0
    """Factor after normalisation in `forward`."""


AnyTowerConfig = (
    TextTowerConfig
    | VisionTowerConfig
    | AudioTowerConfig
    | DepthTowerConfig
    | ThermalTowerConfig
    | ImuTowerConfig
)

TOWER_NAMES = ("vision", "text", "audio", "depth", "thermal", "imu")
"""All towers, in the order of the published checkpoint."""


@dataclass(frozen=True, kw_only=True)
class ImageBindConfig:
    """Six towers into one space."""

    embed_dim: int
    """Width of the shared space."""
    vision: VisionTowerConfig | None = None
    """Image and video tower."""
    text: TextTowerConfig | None = None
    """Text tower."""
    audio: AudioTowerConfig | None = None
    """Audio tower."""
    depth: DepthTowerConfig | None = None
    """Depth tower."""
    thermal: ThermalTowerConfig | None = None
    """Thermal tower."""
    imu: ImuTowerConfig | None = None
    """IMU tower."""

    def __post_init__(self) -> None:
        if self.embed_dim < 1:
            raise BadArgument(f"Found embed_dim={self.embed_dim}; expected a positive number.")

    @property
    def towers(self) -> dict[str, AnyTowerConfig]:
        """The towers there are, by name, in the order of the published checkpoint."""
        return {name: getattr(self, name) for name in TOWER_NAMES if getattr(self, name) is not None}

    def tower_names(self, modalities: Iterable[Modality] | None = None) -> tuple[str, ...]:
        """Names of the towers that `modalities` need; None asks for all. Raises MissingPart."""
        if modalities is None:
            return tuple(self.towers)
        wanted = {TOWER[Modality(m)] for m in modalities}
        missing = sorted(wanted - set(self.towers))
        if missing:
            raise MissingPart(
                f"Found no {', '.join(missing)} tower in this encoder; it has {', '.join(self.towers)}. "
                "Choose other modalities or another model."
            )
        return tuple(name for name in self.towers if name in wanted)


def imagebind_huge() -> ImageBindConfig:
    """The published checkpoint: 1,200,781,057 parameters."""
    return ImageBindConfig(
        embed_dim=1024,
        vision=VisionTowerConfig(width=1280, num_blocks=32, num_heads=16),
        text=TextTowerConfig(width=1024, num_blocks=24, num_heads=16),
        audio=AudioTowerConfig(width=768, num_blocks=12, num_heads=12, drop_path=0.1),
        depth=DepthTowerConfig(width=384, num_blocks=12, num_heads=8),
        thermal=ThermalTowerConfig(width=768, num_blocks=12, num_heads=12),
        imu=ImuTowerConfig(width=512, num_blocks=6, num_heads=8, drop_path=0.7),
    )


def imagebind_tiny(
    *, vocab_size: int, start_token_id: int, end_token_id: int, pad_token_id: int
) -> ImageBindConfig:
    """The bundled size: the toybox world at 64 pixels and 2 s, under two million parameters.

    Depth, thermal and IMU towers normalise every patch in their stem, which hides how deep, warm or strong a
    patch is that is all alike. Their inputs are divided by a large number so that the norm's epsilon counts
    and levels come through.

    Args:
        vocab_size: Of the tokenizer, special ids included.
        start_token_id: See `TextTowerConfig`.
        end_token_id: See `TextTowerConfig`.
        pad_token_id: See `TextTowerConfig`.
    """
    text = TextTowerConfig(
        width=128,
        num_blocks=2,
        num_heads=4,
        vocab_size=vocab_size,
        context_length=32,
        start_token_id=start_token_id,
        end_token_id=end_token_id,
        pad_token_id=pad_token_id,
    )
    picture: dict[str, Any] = {"num_heads": 4, "image_size": 64, "patch_size": 8}
    return ImageBindConfig(
        embed_dim=256,
        vision=VisionTowerConfig(width=96, num_blocks=3, num_clips=1, num_crops=1, **picture),
        text=text,
        audio=AudioTowerConfig(
            width=96, num_blocks=3, num_heads=4, kernel_size=(128, 6), stride=(128, 6), num_clips=1
        ),
        depth=DepthTowerConfig(width=64, num_blocks=3, mean=0.0, std=100.0, scale=20.0, **picture),
        thermal=ThermalTowerConfig(width=64, num_blocks=3, std=200.0, scale=20.0, **picture),
        imu=ImuTowerConfig(
            width=64,
            num_blocks=2,
            num_heads=4,
            kernel_size=80,
            mean=(0.0, 0.0, 9.81, 0.0, 0.0, 0.0),
            std=(100.0,) * 6,
            head_dropout=0.0,
            scale=20.0,
        ),
    )
