"""How one medium that the model made gets into its file, with all that made it inside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from anygen.config import to_json
from anygen.messages import MediaPart
from anygen.modality import Modality
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.options import TEXT_OPTIONS, media_options, text_options
from anygen.pipelines.reply import Reply

from ..media_tags import MediaTags
from .types import MediaFinished
from .workspace import Workspace

_FROM_DECODER = (
    "num_inference_steps",
    "guidance_scale",
    "height",
    "width",
    "num_frames",
    "audio_length_in_s",
)


@dataclass(frozen=True, kw_only=True)
class Making:
    """What one answer is made with; see `MediaTags` for what the fields are."""

    session: str
    """Whose it is."""
    seed: int
    """Of the request."""
    variation: int = 0
    """Which of the answers, from 0."""
    outputs: tuple[str, ...] = ()
    """Forced modalities."""
    inputs: tuple[Any, ...] = ()
    """`InputTag` of what was attached or blended."""
    blended: bool = False
    """Whether inputs were mixed."""
    prompt: str | None = None
    """Only when the user wants it in the file."""
    text_options: dict[str, Any]
    """As given."""
    media_options: dict[Modality, dict[str, Any]]
    """As given, by modality."""


class OutputWriter:
    """Writes what the model made.

    Args:
        pipe: the model.
        workspace: where to.
    """

    def __init__(self, pipe: AnyGenPipeline, workspace: Workspace) -> None:
        self._pipe, self._workspace = pipe, workspace

    def defaults(self, modality: Modality) -> dict[str, Any]:
        """What a decoder does when nobody says anything; opens the decoder.

        Args:
            modality: which.

        Returns:
            Its options.
        """
        own = self._pipe.decoders[modality].parts.defaults
        values = {name: getattr(own, name) for name in _FROM_DECODER if hasattr(own, name)}
        if modality is not Modality.VIDEO:
            values.pop("num_frames", None)
        if modality is Modality.AUDIO:
            values = {name: v for name, v in values.items() if name not in ("height", "width")}
        else:
            values.pop("audio_length_in_s", None)
        values |= media_options(self._pipe.config, {})[modality]
        return {name: value for name, value in values.items() if value is not None}

    def write(self, part: MediaPart, index: int, making: Making) -> MediaFinished:
        """Write one medium.

        Args:
            part: the medium.
            index: its position in the answer.
            making: what it was made with.

        Returns:
            The event that tells of it.
        """
        tags = self._tags(part.modality, making)
        reply = Reply(parts=(part,), model=self._pipe.config.name, seed=making.seed)
        metadata = reply.provenance(prompt=None)[0] | {"Seed": str(making.seed)} | tags.metadata()
        stored = self._workspace.add(making.session, part.media, tags=metadata)
        return MediaFinished(
            modality=stored.modality,
            index=index,
            media_id=stored.id,
            path=str(stored.path),
            mime=stored.mime,
            settings=json.loads(json.dumps(to_json(tags))),
            variation=making.variation,
        )

    def _tags(self, modality: Modality, making: Making) -> MediaTags:
        config = self._pipe.config
        given = {name: v for name, v in making.media_options.get(modality, {}).items() if v is not None}
        text = text_options(config, making.text_options)
        return MediaTags(
            model=config.name,
            modality=modality,
            seed=making.seed,
            variation=making.variation,
            outputs=tuple(Modality(name) for name in making.outputs),
            options=self.defaults(modality) | given,
            text_options={name: getattr(text, name) for name in TEXT_OPTIONS},
            inputs=making.inputs,
            blended=making.blended,
            prompt=making.prompt,
        )
