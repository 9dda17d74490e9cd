"""The causal language model, and the new rows that signal tokens add to its embedding and its head.

The base weights are never resized: the new rows are parameters of their own, so "only the new rows train"
holds by construction, the base is saved and loaded as it was published, and switching the rows off gives the
base back bit by bit. (Resizing would leave every old row trainable, or need gradient masks: in NExT-GPT's
published runs 262 M embedding weights train, see its issues 17 and 71.)
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from anygen.errors import BadArgument


class ExtendedEmbedding(nn.Module):
    """A token embedding with rows of its own for the ids from `first_id` on."""

    def __init__(self, base: nn.Embedding, rows: nn.Parameter, first_id: int) -> None:
        """Wrap a base embedding.

        Args:
            base: the published embedding (V, D).
            rows: new rows (N, D), for ids first_id to first_id + N - 1.
            first_id: at most V; some published embeddings have spare rows.
        """
        super().__init__()
        self.base = base
        self.rows = rows
        self.first_id = first_id

    @property
    def weight(self) -> Tensor:
        """The base rows (V, D), for code that asks an embedding for its device, type or width."""
        weight: Tensor = self.base.weight
        return weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ids of any shape; the result is bitwise the base's where ids are old."""
        index = input_ids - self.first_id
        is_new = (index >= 0) & (index < self.rows.shape[0])
        old: Tensor = self.base(input_ids.masked_fill(is_new, 0))
        new = self.rows.to(old.dtype)[index.clamp(0, self.rows.shape[0] - 1)]
        scale = getattr(self.base, "embed_scale", None)  # Gemma 3 multiplies what it looks up
        new = new if scale is None else new * scale.to(new.dtype)
        return torch.where(is_new.unsqueeze(-1), new, old)


class ExtendedHead(nn.Module):
    """A language-model head with rows of its own for the ids from `first_id` on."""

    def __init__(self, base: nn.Linear, rows: nn.Parameter, first_id: int) -> None:
        """Wrap a base head.

        Args:
            base: the published head (V, D).
            rows: new rows (N, D); the embedding's own parameter where the model ties the two.
            first_id: as for the embedding.
        """
        super().__init__()
        self.base = base
        self.rows = rows
        self.first_id = first_id
        self.enabled = True

    @property
    def weight(self) -> Tensor:
        """The base rows (V, D)."""
        weight: Tensor = self.base.weight
        return weight

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Logits (..., max(V, first_id + N)); the base's (..., V) alone while the rows are switched off."""
        old: Tensor = self.base(hidden_states)
        if not self.enabled:
            return old
        new = hidden_states @ self.rows.to(hidden_states.dtype).T
        after = old[..., self.first_id + self.rows.shape[0] :]
        return torch.cat([old[..., : self.first_id], new, after], dim=-1)


def token_logits(llm: Any, hidden_states: Tensor) -> Tensor:
    """Logits as the model itself makes them: some families scale or cap what the head gives.

    Args:
        llm: a `transformers` causal language model, with or without new rows.
        hidden_states: (..., D) last hidden states, after the final norm.

    Returns:
        (..., V + new rows) logits. Gemma 2's soft cap is arXiv 2408.00118, section 2; Cohere multiplies by
        `logit_scale`, Granite divides by `logits_scaling`.
    """
    logits: Tensor = llm.get_output_embeddings()(hidden_states)
    if scale := getattr(llm.config, "logit_scale", None):
        logits = logits * scale
    if divisor := getattr(llm.config, "logits_scaling", None):
        logits = logits / divisor
    if cap := getattr(llm.config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits


def build_backbone(config: PretrainedConfig, *, dtype: torch.dtype = torch.float32) -> Any:
    """Make a causal language model with random weights.

    Args:
        config: any `transformers` configuration of a causal language model; copied, since transformers
            changes configurations in place.
        dtype: type of the weights.

    Returns:
        The `transformers` model.
    """
    return AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)


def load_backbone(source: str | Path, *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Load a published or saved causal language model from safetensors.

    Args:
        source: folder, or hub id.
        dtype: type of the weights.
        options: handed to `from_pretrained` (revision, device_map, quantization_config).

    Returns:
        The `transformers` model in evaluation mode, without new rows.
    """
    options.setdefault("use_safetensors", True)
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options).eval()


def extend_vocabulary(llm: Any, new_ids: Sequence[int], *, generator: torch.Generator | None = None) -> None:
    """Give a model rows for new ids; they are the only trainable ones of its embedding and head.

    New rows are drawn as typical rows: the mean of the base's rows plus a normal deviate of their spread.

    Args:
        llm: a `transformers` causal language model, changed in place.
        new_ids: ascending ids that follow one another (`SignalTokens.new_ids`).
        generator: source of the initial values.

    Raises:
        BadArgument: when the model already has new rows, or the ids leave a gap behind the base's vocabulary.
    """
    embedding, head = llm.get_input_embeddings(), llm.get_output_embeddings()
    if isinstance(embedding, ExtendedEmbedding):
        raise BadArgument("the language model already has new rows, expected a plain one; load it anew")
    vocab_size, first_id = embedding.weight.shape[0], new_ids[0]
    if list(new_ids) != list(range(first_id, first_id + len(new_ids))) or first_id > vocab_size:
        raise BadArgument(
            f"found new ids from {first_id} to {new_ids[-1]} for a vocabulary of {vocab_size}, expected ids "
            "that follow one another and it; use the tokenizer that belongs to the model"
        )
    tied = head.weight is embedding.weight
    embedding.weight.requires_grad_(False)
    head.weight.requires_grad_(False)
    rows = _typical_rows(embedding.weight, len(new_ids), generator)
    head_rows = rows if tied else _typical_rows(head.weight, len(new_ids), generator)
    llm.set_input_embeddings(ExtendedEmbedding(embedding, rows, first_id))
    llm.set_output_embeddings(ExtendedHead(head, head_rows, first_id))


def _typical_rows(weight: Tensor, count: int, generator: torch.Generator | None) -> nn.Parameter:
    """Rows (count, D) float32 drawn with the mean and spread of `weight`'s rows."""
    known = weight.detach()
    mean, spread = known.float().mean(0), known.float().std(0)
    noise = torch.randn(count, weight.shape[1], generator=generator).to(mean)
    return nn.Parameter(mean + spread * noise)


def row_parameters(llm: Any) -> dict[str, nn.Parameter]:
    """The new rows.

    Args:
        llm: a model that `extend_vocabulary` changed.

    Returns:
        `embed_tokens`, and `lm_head` unless the model ties the two.
    """
    embedding, head = _extended(llm)
    rows = {"embed_tokens": embedding.rows}
    if head.rows is not embedding.rows:
        rows["lm_head"] = head.rows
    return rows


def set_rows_enabled(llm: Any, enabled: bool) -> None:
    """Switch the new rows of the head on or off; off, the head gives the base's logits bit by bit."""
    _extended(llm)[1].enabled = enabled


def _extended(llm: Any) -> tuple[ExtendedEmbedding, ExtendedHead]:
    embedding, head = llm.get_input_embeddings(), llm.get_output_embeddings()
    if not isinstance(embedding, ExtendedEmbedding) or not isinstance(head, ExtendedHead):
        raise BadArgument("the language model has no new rows, expected them; call extend_vocabulary first")
    return embedding, head


def base_state_dict(llm: Any) -> dict[str, Tensor]:
    """Weights of the base alone, under their published names.

    Args:
        llm: a model with or without new rows and adapters.

    Returns:
        State without new rows and adapters, with the wrappers' names taken off.
    """
    state = {}
    for name, tensor in llm.state_dict().items():
        if name.endswith(".rows") or ".lora_" in name:
            continue
        state[name.replace(".base_layer.", ".").replace(".base.", ".")] = tensor
    return state


def save_backbone(llm: Any, folder: str | Path) -> None:
    """Write the base alone as a `transformers` folder: config.json and safetensors.

    Args:
        llm: a model with or without new rows and (unmerged) adapters.
        folder: where to; made if missing.
    """
    state = base_state_dict(llm)
    if llm.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    llm.save_pretrained(folder, state_dict=state, save_peft_format=False)
