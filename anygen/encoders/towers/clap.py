"""The two halves of a CLAP (Wu et al., arXiv 2211.06687) with the names of transformers' ClapModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import ClapAudioModel, ClapConfig, ClapTextModel
from transformers.models.clap.modeling_clap import ClapProjectionLayer


class ClapMedia(nn.Module):
    """The half that hears.

    Args:
        values: contents of the folder's `config.json`.
    """

    prefixes = ("audio_model.", "audio_projection.")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        config = ClapConfig.from_dict(dict(values)).audio_config
        self.audio_model = ClapAudioModel(config)
        self.audio_projection = ClapProjectionLayer(config)

    def pooled(self, inputs: Tensor) -> Tensor:
        """Vectors (N, S, width) of the log-mels (N, S, C, frames, mel) of S clips."""
        vectors: Tensor = self.audio_projection(self._outputs(inputs).pooler_output)
        return vectors.unflatten(0, inputs.shape[:2])

    def tokens(self, inputs: Tensor) -> Tensor:
        """The cells (N, L, width) of the last map in the shared space, those of all clips in a row."""
        cells = self._outputs(inputs).last_hidden_state.flatten(2).transpose(1, 2)
        projected: Tensor = self.audio_projection(cells)
        return projected.unflatten(0, inputs.shape[:2]).flatten(1, 2)

    def _outputs(self, inputs: Tensor) -> Any:
        clips = inputs.flatten(0, 1).to(self.audio_projection.linear1.weight.dtype)
        return self.audio_model(input_features=clips, is_longer=clips.new_zeros(len(clips), 1).bool())


class ClapText(nn.Module):
    """The half that reads.

    Args:
        values: contents of the folder's `config.json`.
    """

    prefixes = ("text_model.", "text_projection.")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        config = ClapConfig.from_dict(dict(values)).text_config
        self.pad_id: int = config.pad_token_id
        self.text_model = ClapTextModel(config)
        self.text_projection = ClapProjectionLayer(config)

    def pooled(self, inputs: Tensor) -> Tensor:
        """Vectors (N, 1, width) of ids (N, L), padded behind."""
        outputs = self.text_model(input_ids=inputs, attention_mask=(inputs != self.pad_id).long())
        vectors: Tensor = self.text_projection(outputs.pooler_output)
        return vectors[:, None]
