"""The trained bridges: encoder vectors into the language model, signal states out to the decoders."""

from .input import InputProjection
from .output import OutputProjection

__all__ = ["InputProjection", "OutputProjection"]
