"""The trained bridges: encoder vectors into the language model, signal states out to the decoders."""

from .grouping import GroupingProjection
from .input import InputProjection
from .output import OutputProjection

__all__ = ["GroupingProjection", "InputProjection", "OutputProjection"]
