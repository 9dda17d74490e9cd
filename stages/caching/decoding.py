"""Decoder alignment from a cache: output projections, and neither language model nor encoder in memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from anygen.checkpoints.folder import replacing
from anygen.checkpoints.lazy import Decoders
from anygen.checkpoints.resolve import CONFIG, read_config, resolve
from anygen.checkpoints.weights import save_weights
from anygen.config import dumps
from anygen.errors import CheckpointCorrupt, MissingPart
from anygen.modality import Modality
from anygen.model import AnyGenModel, ModelOutput
from anygen.projections import OutputProjection
from anygen.prompting import Prompt, PromptBatch
from anygen.tokens import SignalTokens

from ..data.latents import RecordLatents
from ..data.model import ModelFolder, Parts
from ..system import Group, System
from .samples import StoredSignal
from .stored import Stored, StoredMedia

START = "start"
"""Folder of a cache with the trained parts as they were."""
EMBEDS = "signal_embeds.safetensors"
"""Input embeddings of every signal group (K, D), in `start/`."""


def arguments_of(projection: OutputProjection) -> dict[str, Any]:
    """What `OutputProjection` takes to make another of the same shape."""
    first: Any = projection.tfm.encoder.layers[0]
    return {
        "llm_dim": projection.llm_dim,
        "cond_dim": projection.cond_dim,
        "num_queries": projection.num_queries,
        "inner_dim": projection.fc.out_features,
        "num_encoder_layers": len(projection.tfm.encoder.layers),
        "num_decoder_layers": len(projection.tfm.decoder.layers),
        "num_heads": projection.tfm.nhead,
        "ffn_dim": first.linear1.out_features,
        "dropout": first.dropout.p,
        "normalize": projection.normalize,
    }


class StoredModel(nn.Module):
    """The output projections alone, under the names that they have in the whole model.

    Args:
        projections: By modality.
    """

    def __init__(self, projections: dict[str, OutputProjection]) -> None:
        super().__init__()
        self.output_projections = nn.ModuleDict(dict(projections))

    @property
    def device(self) -> torch.device:
        """Where the projections lie."""
        return next(self.parameters()).device

    def set_trainable(self, parts: Sequence[str]) -> None:
        """All of it trains; signal rows are as they were when their states were computed."""
        self.requires_grad_(True)

    def project(self, modality: Modality, signal_states: Tensor, signal_embeds: Tensor) -> Tensor:
        """Signal groups (M, K, D) to a decoder's conditioning (M, tokens, width)."""
        if str(modality) not in self.output_projections:
            raise MissingPart(f"the model has no output projection for {modality}")
        projected: Tensor = self.output_projections[str(modality)](signal_states, signal_embeds)
        return projected


class StoredSystem(System):
    """A system whose forward pass reads what the language model said.

    Args:
        stored: A cache of decoder alignment.
    """

    def __init__(self, stored: Stored) -> None:
        parts, start = stored.index.parts, stored.folder / START
        projections = {}
        for name, arguments in parts["projections"].items():
            projections[name] = OutputProjection(**arguments)
            projections[name].load_state_dict(load_file(start / "output_projections" / f"{name}.safetensors"))
        model: Any = StoredModel(projections)
        self._width: int = parts["width"]
        self.model: AnyGenModel = model
        self.media = StoredMedia()
        self.tokens = SignalTokens(
            groups={Modality(m): tuple(ids) for m, ids in parts["groups"].items()},
            open_id=parts["open_id"],
            close_id=parts["close_id"],
        )
        self._embeds = {Modality(m): t for m, t in load_file(start / EMBEDS).items()}
        self._known: dict[tuple[Modality, str], Tensor] = {}

    def targets(self, modality: Modality, captions: list[str]) -> Tensor:
        """Text embeddings (n, tokens, width) of captions of samples that were read before."""
        missing = [c for c in captions if (modality, c) not in self._known]
        if missing:
            raise CheckpointCorrupt(f"the cache has no target of {missing[0][:60]!r}; cache again")
        return torch.stack([self._known[modality, c] for c in captions]).float()

    def grouped(
        self,
        prompts: Sequence[Prompt],
        rng: np.random.Generator,
        *,
        parts: int,
        held_out: bool = False,
        moved: float = 0.0,
    ) -> list[Group]:
        """One group: nothing is padded, since no language model reads it."""
        signals = tuple(placed for prompt in prompts for placed in prompt.signals)
        captions: dict[Modality, list[str]] = {}
        for placed in signals:
            captions.setdefault(placed.modality, []).append(placed.item.caption)
            self._known[placed.modality, placed.item.caption] = placed.item.target
        empty = torch.zeros(len(prompts), 0, dtype=torch.long)
        batch = PromptBatch(
            input_ids=empty, attention_mask=empty, slot_mask=empty.bool(), labels=empty,
            slots=(), signals=signals,
        )  # fmt: skip
        return [Group(batch, torch.zeros(0, 1), captions)]

    def forward(self, group: Group, *, return_logits: bool = False) -> ModelOutput:
        """The states as they were computed, and the embeddings of the same tokens."""
        states: dict[Modality, list[Tensor]] = {}
        for placed in group.prompts.signals:
            states.setdefault(placed.modality, []).append(placed.item.state)
        device = self.model.device
        stacked = {m: torch.stack(rows).float().to(device) for m, rows in states.items()}
        return ModelOutput(
            hidden_states=torch.zeros(len(group.prompts.input_ids), 0, self._width, device=device),
            signal_states=stacked,
            signal_embeds={m: self._embeds[m].to(device).expand_as(s) for m, s in stacked.items()},
        )


class StoredLatents(RecordLatents):
    """The denoising loss on latents out of a cache."""

    def _shows(self, target: Any) -> bool:
        return isinstance(target, StoredSignal) and target.latents is not None

    def _latents(self, target: Any) -> Tensor:
        latents: Tensor = target.latents
        return latents.float()


def write_start(system: System, folder: Path) -> dict[str, Any]:
    """Write the trained parts as they are before training, and the signals' embeddings.

    Returns:
        What `StoredSystem` needs to know besides.
    """
    from safetensors.torch import save_file

    from ..system import save_trained

    save_trained(system.model, folder)
    embed = system.model.llm.get_input_embeddings()
    with torch.no_grad():
        embeds = {
            str(m): embed(torch.tensor(ids, device=system.model.device)).float().cpu().contiguous()
            for m, ids in system.tokens.groups.items()
        }
    save_file(embeds, folder / EMBEDS)
    projections: Any = system.model.output_projections
    return {
        "projections": {name: arguments_of(p) for name, p in projections.items()},
        "width": int(next(iter(embeds.values())).shape[-1]),
        "groups": {str(m): list(ids) for m, ids in system.tokens.groups.items()},
        "open_id": system.tokens.open_id,
        "close_id": system.tokens.close_id,
    }


def open_origin(parts: Parts) -> ModelFolder | None:
    """The model folder behind a configuration, its decoders unopened; None where parts came one by one."""
    if parts.model is None:
        return None
    folder = resolve(parts.model)
    config = read_config(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return ModelFolder(folder=folder, config=config, decoders=Decoders(config, folder, device=device))


def save_stored(stored: Stored, origin: ModelFolder | None, model: Any, stage: str, folder: Path) -> None:
    """Write what a run without a cache would: all parts as they were, and the trained projections.

    Args:
        stored: The cache.
        origin: The model folder that it was computed from; None where parts came one by one.
        model: The `StoredModel`.
        stage: Which stage trained it.
        folder: Where to.
    """
    if origin is None:
        shutil.copytree(stored.folder / START, folder, ignore=shutil.ignore_patterns(EMBEDS))
        for name, projection in model.output_projections.items():
            save_model(projection, str(folder / "output_projections" / f"{name}.safetensors"))
        return
    note = f"; then `anygen train {stage}` on other data"
    config = replace(
        origin.config,
        name=origin.config.name.removesuffix("-tuned") + "-tuned",
        output_projections={
            m: replace(part, source=f"{part.source}{note}")
            for m, part in origin.config.output_projections.items()
        },
    )
    with replacing(folder) as draft:
        for path in sorted(origin.folder.iterdir()):
            if path.is_dir() and path.name != "output_projections":
                shutil.copytree(path, draft / path.name)
        (draft / CONFIG).write_text(dumps(config), encoding="utf-8")
        card = origin.folder / "README.md"
        before = card.read_text(encoding="utf-8") if card.is_file() else f"# {config.name}\n"
        note = f"\nTrained further, on other data, by `anygen train {stage}`: scores above are not its own.\n"
        (draft / "README.md").write_text(before + note, encoding="utf-8")
        for name, projection in model.output_projections.items():
            save_weights(projection, draft / "output_projections" / name, dtype=torch.float32)
