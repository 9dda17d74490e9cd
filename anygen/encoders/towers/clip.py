"""The two halves of a CLIP, and LanguageBind's media towers, which are CLIPs with more inside.

LanguageBind (Zhu et al., arXiv 2310.01852) keeps CLIP's transformer and changes two things: sound enters as a
rectangle of log-mels, which needs a rectangular table of positions, and in the video tower every layer first
lets each place look at itself in the other frames. Names of the weights are those of transformers' CLIPModel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPEncoderLayer, CLIPVisionEmbeddings

OWN = "languagebind"
"""Key of `config.json` under which the importer keeps what CLIP does not know."""


class RectangularEmbeddings(CLIPVisionEmbeddings):
    """CLIP's patches and positions for inputs that are no squares.

    Args:
        config: of the vision half.
        height: of the input.
        width: of the input.
    """

    def __init__(self, config: CLIPVisionConfig, *, height: int, width: int) -> None:
        super().__init__(config)
        self.num_patches = (height // self.patch_size) * (width // self.patch_size)
        self.num_positions = self.num_patches + 1
        self.position_embedding = nn.Embedding(self.num_positions, self.embed_dim)
        self.position_ids = nn.Buffer(torch.arange(self.num_positions).expand((1, -1)), persistent=False)

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Map (B, 3, height, width) to (B, positions, D)."""
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        positions: Tensor = self.position_embedding(self.position_ids)
        return tokens + positions


class TemporalLayer(CLIPEncoderLayer):
    """CLIP's layer behind an attention over the frames (LanguageBind, section 3.2).

    Args:
        config: of the vision half.
        num_frames: frames of a video.
    """

    def __init__(self, config: CLIPVisionConfig, *, num_frames: int) -> None:
        super().__init__(config)
        self.num_frames = num_frames
        self.temporal_embedding = nn.Parameter(torch.zeros(1, num_frames, config.hidden_size))
        self.temporal_attn = CLIPAttention(config)
        self.temporal_layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Tensor:
        """Map the tokens (B * frames, L, D) of videos."""
        frames = hidden_states.unflatten(0, (-1, self.num_frames)).transpose(1, 2)  # (B, L, frames, D)
        batch = frames.shape[:2]
        frames = frames.flatten(0, 1) + self.temporal_embedding
        frames = frames + self.temporal_attn(self.temporal_layer_norm1(frames))[0]
        hidden_states = frames.unflatten(0, batch).transpose(1, 2).flatten(0, 1)
        layered: Tensor = super().forward(hidden_states, attention_mask, **options)
        return layered


class ClipMedia(nn.Module):
    """The half that sees: images and maps as images, videos as frames, LanguageBind's sounds as log-mels.

    Args:
        values: contents of the folder's `config.json`.
    """

    prefixes = ("vision_model.", "visual_projection.")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        whole = CLIPConfig.from_dict(dict(values))
        config = whole.vision_config
        own = values.get(OWN, {})
        self.num_frames = int(own.get("num_frames", 1)) if own.get("add_time_attn") else 1
        """Frames that the layers look at together; 1 where each frame is seen alone."""
        self.vision_model = CLIPVisionModel(config)
        if own.get("num_mel_bins") and own.get("target_length"):
            self.vision_model.embeddings = RectangularEmbeddings(
                config, height=own["num_mel_bins"], width=own["target_length"]
            )
        if own.get("add_time_attn"):
            self.vision_model.encoder.layers = nn.ModuleList(
                TemporalLayer(config, num_frames=self.num_frames) for _ in range(config.num_hidden_layers)
            )
        self.visual_projection = nn.Linear(config.hidden_size, whole.projection_dim, bias=False)

    def pooled(self, inputs: Tensor) -> Tensor:
        """Vectors (N, S, width) of inputs (N, 3, H, W) or (N, T, 3, H, W); S counts frames seen alone."""
        states = self._states(inputs)[..., 0, :].unflatten(0, (len(inputs), -1, self.num_frames))
        vectors: Tensor = self.visual_projection(self.vision_model.post_layernorm(states).mean(2))
        return vectors

    def tokens(self, inputs: Tensor) -> Tensor:
        """The patches (N, L, width) of the same inputs in the shared space, those of all frames in a row."""
        patches = self._states(inputs)[:, 1:].unflatten(0, (len(inputs), -1)).flatten(1, 2)
        projected: Tensor = self.visual_projection(self.vision_model.post_layernorm(patches))
        return projected

    def _states(self, inputs: Tensor) -> Tensor:
        """Last hidden states (N * T, L, D)."""
        pixels = inputs.flatten(0, 1) if inputs.ndim == 5 else inputs
        pixels = pixels.to(self.visual_projection.weight.dtype)
        vision = self.vision_model
        states: Tensor = vision.encoder(vision.pre_layrnorm(vision.embeddings(pixels))).last_hidden_state
        return states


class ClipText(nn.Module):
    """The half that reads.

    Args:
        values: contents of the folder's `config.json`.
    """

    prefixes = ("text_model.", "text_projection.")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        whole = CLIPConfig.from_dict(dict(values))
        config = whole.text_config
        self.text_model = CLIPTextModel(config)
        self.text_projection = nn.Linear(config.hidden_size, whole.projection_dim, bias=False)

    def pooled(self, inputs: Tensor) -> Tensor:
        """Vectors (N, 1, width) of ids (N, L); what stands behind the end token cannot be seen."""
        vectors: Tensor = self.text_projection(self.text_model(input_ids=inputs).pooler_output)
        return vectors[:, None]
