"""Vectors of any modality in one space: the encoder alone, without language model or decoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anygen.checkpoints.lazy import LazyEncoder
from anygen.checkpoints.licences import check_licences
from anygen.checkpoints.resolve import CONFIG, open_encoder, read_config, resolve
from anygen.config import unknown_name
from anygen.encoders.opening import EncoderFolder
from anygen.errors import BadArgument, NonFinite
from anygen.media import MediaLimits, load_media
from anygen.modality import Modality

ENCODER = "encoder"
"""Folder of the encoder in a model folder."""


class EmbeddingPipeline:
    """Embeds texts and media; a tower is read from disk when it is first asked for.

    Args:
        folder: An ImageBind's folder, or any encoder on disk.
        device: Where the towers compute.
        dtype: What they compute in; vectors are float32 anyway.
        limits: How large media may be.
        batch_size: Items that go through a tower at once.
    """

    def __init__(
        self,
        folder: Path | EncoderFolder,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        limits: MediaLimits | None = None,
        batch_size: int = 32,
    ) -> None:
        if batch_size < 1:
            raise BadArgument(f"Found batch_size={batch_size}; expected at least 1.")
        self._source = folder if isinstance(folder, EncoderFolder) else EncoderFolder(folder)
        self.device, self.dtype, self.batch_size = torch.device(device), dtype, batch_size
        self.limits = MediaLimits() if limits is None else limits
        self.modalities = self._source.modalities
        """What can be embedded."""
        self._encoder = LazyEncoder(self._source, device=self.device, dtype=dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        accept_license: bool = False,
        **options: Any,
    ) -> EmbeddingPipeline:
        """Open the encoder of a model.

        Args:
            name_or_path: Bundled name, model folder (or one that has just `encoder/`), or hub id.
            revision: Commit, tag or branch of a hub id.
            accept_license: Accept the encoder's licence if it restricts its use; remembered for the user.
            **options: The keyword arguments of the class.

        Raises:
            MissingPart: There is no such model, or it has no encoder.
            LicenceNotAccepted: The encoder's licence restricts its use, and it was never accepted.
        """
        local = Path(name_or_path).expanduser()
        if (local / ENCODER / CONFIG).is_file() and not (local / CONFIG).is_file():
            return cls(local / ENCODER, **options)
        folder = resolve(name_or_path, revision=revision)
        config = read_config(folder)
        check_licences(config, accepted=accept_license, parts=[ENCODER])
        return cls(open_encoder(folder, config.encoder), **options)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._source.embed_dim

    def embed(self, **items: Any) -> dict[str, NDArray[np.float32]]:
        """Embed items of one or several modalities.

        Args:
            **items: Modality name (`text`, `image`, `audio`, `video`, `depth`, `thermal`, `imu`) to one item
                or a list of them: strings for text; paths, arrays or media objects for the rest.

        Returns:
            (n, dim) float32 of unit norm for every name given. A text longer than the context is cut.

        Raises:
            BadArgument: An unknown name, or nothing to embed.
            MissingPart: The model has no tower for a modality.
            BadMedia: An item cannot be read; BadText likewise; LimitExceeded when it is too large.
            NonFinite: The model gave a NaN or infinity.
        """
        names = [str(m) for m in Modality]
        for name in items:
            if name not in names:
                raise BadArgument(unknown_name(name, names, "a modality"))
        if not items:
            raise BadArgument(f"Found nothing to embed; expected one or more of {', '.join(names)}.")
        self._source.pieces([Modality(n) for n in items])
        return {name: self._embed(Modality(name), values) for name, values in items.items()}

    def _embed(self, modality: Modality, values: Any) -> NDArray[np.float32]:
        listed = list(values) if isinstance(values, list | tuple) else [values]
        if not listed:
            raise BadArgument(
                f"Found an empty list for `{modality}`; expected at least one item. Leave it out."
            )
        chunks = (listed[i : i + self.batch_size] for i in range(0, len(listed), self.batch_size))
        return np.concatenate([self._embed_chunk(modality, chunk) for chunk in chunks])

    def _embed_chunk(self, modality: Modality, values: Sequence[Any]) -> NDArray[np.float32]:
        loaded = (
            values if modality is Modality.TEXT else [load_media(modality, v, self.limits) for v in values]
        )
        inputs = self._encoder.prepare(modality, list(loaded))
        with torch.inference_mode():
            vectors = self._encoder.encode(modality, inputs).cpu().numpy()
        if not np.isfinite(vectors).all():
            raise NonFinite(
                f"Found NaN or infinity in {modality} vectors; load the model with dtype=torch.float32."
            )
        return vectors
