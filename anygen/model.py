"""The trained whole: encoder, input projection, language model, output projections. No decoders inside.

Training needs no encoder when the unit-norm media vectors are given (they are frozen features, computed
once).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import BadArgument, MissingPart
from .llm import fuse, lora_parameters, row_parameters, token_logits
from .modality import Modality
from .projections import GroupingProjection, InputProjection, OutputProjection
from .tokens import SignalTokens

IGNORED = -100
"""Label of a position that no loss is taken at."""

MediaFeatures = Tensor | Sequence[Tensor]
"""What the encoder says of N media: pooled unit-norm vectors (N, encoder_dim), or, for an input projection
that groups them, the patch tokens (L, encoder_dim) of each."""

TrainablePart = Literal["input_projection", "output_projections", "signal_rows", "lora", "llm", "encoder"]
"""What a stage can train."""


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """What one forward pass gives. B rows of S tokens, T learned tokens, M signal groups of K tokens."""

    hidden_states: Tensor
    """(B, S, D) last hidden states, after the final norm."""
    loss: Tensor | None = None
    """Mean cross-entropy over the T learned tokens; None without labels."""
    token_losses: Tensor | None = None
    """(T,) cross-entropy of each learned token, row-major; for stages that weigh words and signals apart."""
    token_labels: Tensor | None = None
    """(T,) their ids."""
    logits: Tensor | None = None
    """(B, S, V + new rows) when asked for."""
    signal_states: dict[Modality, Tensor] = field(default_factory=dict)
    """(M, K, D) hidden states at the signal tokens' own positions, row-major; only modalities that occur."""
    signal_embeds: dict[Modality, Tensor] = field(default_factory=dict)
    """(M, K, D) input embeddings of the same tokens."""


class AnyGenModel(nn.Module):
    """Understands any mix of media and says, in signal states, which media its answer has.

    Parts are plain attributes, saved part by part: `encoder` (or None), `input_projection`, `llm` (a
    `transformers` causal language model with new rows), `output_projections` (by modality).
    """

    def __init__(
        self,
        *,
        llm: Any,
        tokens: SignalTokens,
        input_projection: InputProjection | GroupingProjection,
        output_projections: Mapping[Modality, OutputProjection],
        encoder: Any | None = None,
    ) -> None:
        """Assemble built parts.

        Args:
            llm: causal language model that `anygen.llm.extend_vocabulary` gave rows for `tokens.new_ids`.
            tokens: the control ids of its tokenizer.
            input_projection: encoder vectors, or patch tokens, into the language model.
            output_projections: signal states to conditioning, for each modality that can be generated.
            encoder: anything with `encode(modality, inputs) -> (N, encoder_dim)`, and with `encode_tokens`
                where the input projection takes patch tokens; None when vectors are given.

        Raises:
            BadArgument: when the new rows, groups or widths do not fit one another.
        """
        super().__init__()
        self.llm = llm
        self.tokens = tokens
        self.input_projection = input_projection
        self.output_projections = nn.ModuleDict({str(m): p for m, p in output_projections.items()})
        self.encoder = encoder
        self._check_fit()

    def _check_fit(self) -> None:
        rows = row_parameters(self.llm)["embed_tokens"]
        first_id = self.llm.get_input_embeddings().first_id
        if (first_id, rows.shape[0]) != (self.tokens.new_ids[0], len(self.tokens.new_ids)):
            raise BadArgument(
                f"found {rows.shape[0]} new rows from id {first_id}, expected {len(self.tokens.new_ids)} "
                f"from {self.tokens.new_ids[0]}; extend the vocabulary with this tokenizer's ids"
            )
        for name, part in {"input_projection": self.input_projection, **self.output_projections}.items():
            if part.llm_dim != rows.shape[1]:
                raise BadArgument(
                    f"{name} has llm_dim {part.llm_dim}, expected {rows.shape[1]}, the language model's width"
                )
        unknown = set(self.output_projections) - {str(m) for m in self.tokens.groups}
        if unknown:
            raise BadArgument(f"found an output projection for {min(unknown)}, which has no signal tokens")

    @property
    def device(self) -> torch.device:
        """Where the model computes; the language model itself may be out of memory at times."""
        device: torch.device = next(self.input_projection.parameters()).device
        return device

    @property
    def generated(self) -> tuple[Modality, ...]:
        """Modalities with an output projection, in the order of the vocabulary."""
        return tuple(m for m in self.tokens.groups if str(m) in self.output_projections)

    def encode_media(
        self, modalities: Sequence[Modality], inputs: Mapping[Modality, Tensor]
    ) -> MediaFeatures:
        """Encode the media of a batch, each modality in one pass.

        Args:
            modalities: modality of every item, in the order of the prompt's slots.
            inputs: prepared inputs of each modality (n, ...), in the same order.

        Returns:
            Features in the order of `modalities`: vectors or patch tokens, as the input projection takes.

        Raises:
            MissingPart: without an encoder.
            BadArgument: when the numbers differ.
        """
        if self.encoder is None:
            raise MissingPart("the model has no encoder, expected one for media; load it or give vectors")
        encode = self.encoder.encode_tokens if self.takes_tokens else self.encoder.encode
        features: dict[int, Tensor] = {}
        for modality, prepared in inputs.items():
            where = [i for i, found in enumerate(modalities) if found == modality]
            if len(where) != prepared.shape[0]:
                raise BadArgument(f"found {prepared.shape[0]} {modality} inputs, expected {len(where)}")
            features |= zip(where, encode(modality, prepared).to(self.device), strict=True)
        missing = set(modalities) - set(inputs)
        if missing:
            raise BadArgument(f"found no inputs for {min(missing)}, expected one for every slot")
        return self.collect([features[i] for i in range(len(modalities))])

    @property
    def takes_tokens(self) -> bool:
        """Whether media come as patch tokens rather than as pooled vectors."""
        return self.input_projection.takes_tokens

    def collect(self, features: Sequence[Tensor]) -> MediaFeatures:
        """Put features of single media together.

        Args:
            features: vectors (encoder_dim,), or tokens (L, encoder_dim) where the projection takes those; a
                vector then stands for a medium of one token.

        Returns:
            What `forward` takes as `media_vectors`.
        """
        if self.takes_tokens:
            return [feature if feature.ndim == 2 else feature[None] for feature in features]
        return torch.stack(list(features)) if features else torch.zeros(0, self.input_projection.encoder_dim)

    def project_media(self, features: MediaFeatures) -> Tensor:
        """Turn features of N media into language-model tokens, those of one length in one pass.

        Args:
            features: from `encode_media` or `collect`.

        Returns:
            (N, K, D).

        Raises:
            BadArgument: when they are not what the input projection takes.
        """
        if isinstance(features, Tensor):
            projected: Tensor = self.input_projection(features)
            return projected
        made: dict[int, Tensor] = {}
        for length in dict.fromkeys(len(feature) for feature in features):
            rows = [i for i, feature in enumerate(features) if len(feature) == length]
            made |= zip(rows, self.input_projection(torch.stack([features[i] for i in rows])), strict=True)
        return torch.stack([made[i] for i in range(len(features))])

    def embed_prompt(
        self, input_ids: Tensor, slot_mask: Tensor | None, media_vectors: MediaFeatures | None
    ) -> Tensor:
        """Embed ids and put projected media into their slots.

        Args:
            input_ids: (B, S).
            slot_mask: (B, S) bool, or None where there are no media.
            media_vectors: features of N media in row-major order of the slots, or None.

        Returns:
            (B, S, D).

        Raises:
            BadArgument: when slots and vectors differ in number.
        """
        inputs_embeds: Tensor = self.llm.get_input_embeddings()(input_ids)
        if slot_mask is None:
            slot_mask = torch.zeros_like(input_ids, dtype=torch.bool)
        if media_vectors is None or not len(media_vectors):
            projected = inputs_embeds.new_zeros(0, self.input_projection.num_tokens, inputs_embeds.shape[-1])
        else:
            projected = self.project_media(media_vectors)
        return fuse(inputs_embeds, projected, slot_mask)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        slot_mask: Tensor | None = None,
        media_vectors: MediaFeatures | None = None,
        labels: Tensor | None = None,
        excluded: Tensor | None = None,
        return_logits: bool = False,
        share_prefix: bool = False,
    ) -> ModelOutput:
        """One pass over whole sequences, for training and for scoring.

        Args:
            input_ids: (B, S), padded on either side.
            attention_mask: (B, S), 0 at padding; None for none.
            slot_mask: (B, S) bool, True where media go.
            media_vectors: features of N media (`MediaFeatures`), in row-major order of the slots.
            labels: (B, S), not shifted, -100 where nothing is learned.
            excluded: (B, vocabulary) bool, tokens that do not compete in a row's loss unless they are the
                target; None for none.
            return_logits: also give the logits at all positions.
            share_prefix: compute once what all rows begin with, such as a template's system text; for
                language models whose attention caches keys and values.

        Returns:
            Losses, hidden states and the states at the signal groups.

        Raises:
            BadArgument: for slots without vectors, or a signal group that is not whole.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        inputs_embeds = self.embed_prompt(input_ids, slot_mask, media_vectors)
        shared = _shared_prefix(input_ids, attention_mask, slot_mask) if share_prefix else 0
        hidden_states = self._decode(inputs_embeds, attention_mask, shared)
        losses: dict[str, Tensor] = {}
        if labels is not None:
            learned = labels[:, 1:] != IGNORED
            targets = labels[:, 1:][learned]
            logits = token_logits(self.llm, hidden_states[:, :-1][learned]).float()
            if excluded is not None:
                out = excluded[learned.nonzero()[:, 0]].scatter(1, targets[:, None], False)
                logits = logits.masked_fill(out, -torch.inf)
            token_losses = functional.cross_entropy(logits, targets, reduction="none")
            # no learned token gives a loss of 0 with a graph, not NaN
            loss = token_losses.sum() / max(1, targets.numel())
            losses = {"loss": loss, "token_losses": token_losses, "token_labels": targets}
        states, embeds = self._at_signals(input_ids, hidden_states, inputs_embeds)
        return ModelOutput(
            hidden_states=hidden_states,
            logits=token_logits(self.llm, hidden_states) if return_logits else None,
            signal_states=states,
            signal_embeds=embeds,
            **losses,
        )

    def _decode(self, inputs_embeds: Tensor, attention_mask: Tensor, shared: int) -> Tensor:
        """Last hidden states (B, S, D); the first `shared` positions, alike in all rows, computed once."""
        decoder, rows = self.llm.get_decoder(), inputs_embeds.shape[0]
        position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        if not shared:
            states: Tensor = decoder(
                inputs_embeds=inputs_embeds, attention_mask=attention_mask, position_ids=position_ids,
                use_cache=False,
            ).last_hidden_state  # fmt: skip
            return states
        first = decoder(inputs_embeds=inputs_embeds[:1, :shared], use_cache=True)
        cache = first.past_key_values
        cache.batch_repeat_interleave(rows)
        rest = decoder(
            inputs_embeds=inputs_embeds[:, shared:], attention_mask=attention_mask,
            position_ids=position_ids[:, shared:], past_key_values=cache, use_cache=True,
        )  # fmt: skip
        begun = first.last_hidden_state.expand(rows, -1, -1)
        return torch.cat([begun, rest.last_hidden_state], dim=1)

    def _at_signals(
        self, input_ids: Tensor, hidden_states: Tensor, inputs_embeds: Tensor
    ) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
        """Hidden states and input embeddings at every whole signal group."""
        states: dict[Modality, Tensor] = {}
        embeds: dict[Modality, Tensor] = {}
        for modality, group in self.tokens.groups.items():
            ids = torch.tensor(group, device=input_ids.device)
            rows, starts = (input_ids == ids[0]).nonzero(as_tuple=True)
            columns = starts[:, None] + torch.arange(len(group), device=input_ids.device)
            rows = rows[:, None].expand_as(columns)
            if columns.numel() and int(columns.max()) >= input_ids.shape[1]:
                raise BadArgument(f"found a cut {modality} signal group, expected {len(group)} tokens")
            found = input_ids[rows, columns]
            members = ((input_ids >= ids[0]) & (input_ids <= ids[-1])).sum()
            if not torch.equal(found, ids.expand_as(found)) or int(members) != found.numel():
                raise BadArgument(f"found a broken {modality} signal group, expected {len(group)} in order")
            if found.numel():
                states[modality] = hidden_states[rows, columns]
                embeds[modality] = inputs_embeds[rows, columns]
        return states, embeds

    def project(self, modality: Modality, signal_states: Tensor, signal_embeds: Tensor) -> Tensor:
        """Map signal groups of one modality to its decoder's conditioning.

        Args:
            modality: which projection.
            signal_states: (M, K, D).
            signal_embeds: (M, K, D).

        Returns:
            (M, num_queries, cond_dim).

        Raises:
            MissingPart: without a projection for the modality.
        """
        if str(modality) not in self.output_projections:
            found = ", ".join(self.output_projections) or "none"
            raise MissingPart(f"the model has no output projection for {modality}, only for {found}")
        output: Tensor = self.output_projections[str(modality)](signal_states, signal_embeds)
        return output

    def set_trainable(self, parts: Collection[TrainablePart]) -> list[str]:
        """Freeze everything, then unfreeze whole parts: the one place that says what trains.

        Args:
            parts: any of "input_projection", "output_projections", "signal_rows", "lora", "llm" (the base
                weights alone), "encoder".

        Returns:
            Sorted names of all trainable parameters.

        Raises:
            BadArgument: for an unknown part, or one that the model does not have.
        """
        rows = list(row_parameters(self.llm).values())
        lora = list(lora_parameters(self.llm).values())
        apart = {id(p) for p in rows + lora}
        table: dict[str, list[nn.Parameter]] = {
            "input_projection": list(self.input_projection.parameters()),
            "output_projections": list(self.output_projections.parameters()),
            "signal_rows": rows,
            "lora": lora,
            "llm": [p for p in self.llm.parameters() if id(p) not in apart],
            "encoder": list(self.encoder.parameters()) if isinstance(self.encoder, nn.Module) else [],
        }
        for part in parts:
            if not table.get(part):
                valid = ", ".join(name for name, parameters in table.items() if parameters)
                raise BadArgument(f"found trainable part {part!r}, expected some of {valid}")
        self.requires_grad_(False)
        for part in parts:
            for parameter in table[part]:
                parameter.requires_grad_(True)
        return self.trainable_names()

    def trainable_names(self) -> list[str]:
        """Sorted names of all parameters that train."""
        return sorted(name for name, p in self.named_parameters() if p.requires_grad)


def _shared_prefix(input_ids: Tensor, attention_mask: Tensor, slot_mask: Tensor | None) -> int:
    """How many first positions are the same in all of several rows, padding and media excepted."""
    if input_ids.shape[0] < 2:
        return 0
    alike = (input_ids == input_ids[:1]).all(0) & attention_mask.bool().all(0)
    if slot_mask is not None:
        alike &= ~slot_mask.any(0)
    return min(int(alike.cumprod(0).sum()), input_ids.shape[1] - 1)
