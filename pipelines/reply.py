"""What a request is answered with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anygen.messages import MediaPart, Message, TextPart
from anygen.modality import Modality

if TYPE_CHECKING:
    from PIL.Image import Image

    from anygen.media import Audio, Video

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model."""

_XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer; handed back inside a conversation it is the assistant's turn."""

    parts: tuple[TextPart | MediaPart, ...]
    """Text, images, audio and video in the order in which the answer interleaves them."""
    model: str
    """Name of the model."""
    seed: int
    """Seed that everything drawn came from; the same request with it gives the same answer."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent on each step, shared by the requests of a batch."""
    settings: tuple[Mapping[str, Any], ...] = ()
    """For each part how it was made: seed, num_inference_steps, guidance_scale; empty for text."""

    @property
    def text(self) -> str:
        """All text of the answer, without its media."""
        pieces = (part.text.strip() for part in self.parts if isinstance(part, TextPart))
        return " ".join(piece for piece in pieces if piece)

    @property
    def images(self) -> list[Image]:
        """The images, in order."""
        return self._media(Modality.IMAGE)

    @property
    def audios(self) -> list[Audio]:
        """The sounds, in order."""
        return self._media(Modality.AUDIO)

    @property
    def videos(self) -> list[Video]:
        """The videos, in order."""
        return self._media(Modality.VIDEO)

    @property
    def message(self) -> Message:
        """The answer as a turn of the conversation."""
        return Message("assistant", self.parts)

    def _media(self, modality: Modality) -> list[Any]:
        return [
            part.media for part in self.parts if isinstance(part, MediaPart) and part.modality is modality
        ]

    def provenance(self, *, prompt: str | None = None) -> list[dict[str, str]]:
        """Say for each part what made it, as tags for `anygen.media.save_media`.

        Args:
            prompt: what was asked; only written when the user wants it in the file.

        Returns:
            One dict a part, empty for text. Every image also has an XMP packet with IPTC's DigitalSourceType.
        """
        tags: list[dict[str, str]] = []
        for part, setting in zip(self.parts, self.settings or ({},) * len(self.parts), strict=True):
            if not isinstance(part, MediaPart):
                tags.append({})
                continue
            tag = {"Software": "anygen", "Model": self.model, "DigitalSourceType": SOURCE_TYPE}
            tag |= {str(name): str(value) for name, value in setting.items()}
            if prompt is not None:
                tag["Prompt"] = prompt
            if part.modality is Modality.IMAGE:
                tag["XML:com.adobe.xmp"] = _XMP
            tags.append(tag)
        return tags
