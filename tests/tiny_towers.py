"""Towers of random weights at width 16 and less: CLIP, LanguageBind's kinds, CLAP, and their tokenizers."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from import_files import random_state
from safetensors.torch import load_file, save_file
from tiny import word_tokenizer
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from anygen.checkpoints import manifest
from anygen.checkpoints.importers.languagebind import clip_layout
from anygen.checkpoints.resolve import read_config
from anygen.checkpoints.swapping import swap_encoder
from anygen.modality import Modality
from anygen.parts import EncoderConfig, TowerConfig

CLIP_WIDTH, CLAP_WIDTH, TEXT_LENGTH = 8, 12, 10
SPREAD = 0.7
"""Of the random weights: enough to tell a white picture from a navy one."""
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
OURS = {"licence": "Apache-2.0", "source": "random numbers"}


def clip_values(**own: Any) -> dict[str, Any]:
    """What a tower's `config.json` says once it is imported."""
    return {
        "model_type": "clip", "projection_dim": CLIP_WIDTH, "languagebind": own,
        "text_config": {**SIZES, "vocab_size": 40, "max_position_embeddings": TEXT_LENGTH, "eos_token_id": 2},
        "vision_config": {**SIZES, "image_size": 28, "patch_size": 14},
    }  # fmt: skip


OWN: dict[str, dict[str, Any]] = {
    "image": {},
    "video": {"add_time_attn": True, "num_frames": 3},
    "audio": {"num_mel_bins": 28, "target_length": 56, "audio_sample_rate": 16000},
    "depth": {},
    "thermal": {},
}


def save_clip(folder: Path, values: dict[str, Any], *, seed: int = 0) -> Path:
    """A folder as `anygen import languagebind` writes it."""
    vision = {**values["vision_config"], **values["languagebind"]}
    state = random_state(clip_layout({**values, "vision_config": vision}), seed, torch.float32)
    folder.mkdir(parents=True)
    for name, tensor in state.items():
        state[name] = tensor * SPREAD if tensor.is_floating_point() else tensor
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(values))
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder


def clap_config() -> ClapConfig:
    """A CLAP of two small stages."""
    audio = {
        "spec_size": 32, "num_mel_bins": 8, "window_size": 2, "patch_size": 2, "patch_stride": [2, 2],
        "patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
        "num_hidden_layers": 2, "flatten_patch_embeds": True, "num_classes": 4,
    }  # fmt: skip
    text = {**SIZES, "vocab_size": 40, "max_position_embeddings": 24, "pad_token_id": 1}
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=CLAP_WIDTH)


def save_clap(folder: Path, *, seed: int = 0) -> Path:
    """A folder as transformers writes it, feature extractor and tokenizer beside it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ClapModel(clap_config()).eval().save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=8, sampling_rate=8000, hop_length=80, max_length_s=1, fft_window_size=256,
        frequency_max=4000, truncation="rand_trunc",
    )  # fmt: skip
    extractor.save_pretrained(folder)
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder


def languagebind_config() -> EncoderConfig:
    """The five towers in one space."""
    towers = {}
    for name in OWN:
        modalities = (Modality(name), Modality.TEXT) if name == "image" else (Modality(name),)
        towers[name] = TowerConfig(
            family="clip", modalities=modalities, width=CLIP_WIDTH, space="languagebind", **OURS
        )
    return EncoderConfig.of_towers(towers, **OURS)


def clip_clap_config() -> EncoderConfig:
    """Two spaces."""
    seen = (Modality.IMAGE, Modality.VIDEO, Modality.TEXT)
    clip = TowerConfig(family="clip", modalities=seen, width=CLIP_WIDTH, space="clip", **OURS)
    heard = (Modality.AUDIO, Modality.TEXT)
    clap = TowerConfig(family="clap", modalities=heard, width=CLAP_WIDTH, space="clap", **OURS)
    return EncoderConfig.of_towers({"clip": clip, "clap": clap}, **OURS)


def save_languagebind(folder: Path) -> EncoderConfig:
    """The five towers on disk."""
    for seed, (name, own) in enumerate(OWN.items()):
        save_clip(folder / name, clip_values(**own), seed=seed)
    return languagebind_config()


def save_clip_clap(folder: Path) -> EncoderConfig:
    """A CLIP and a CLAP on disk."""
    save_clip(folder / "clip", clip_values())
    save_clap(folder / "clap")
    return clip_clap_config()


ENCODERS = {"languagebind": save_languagebind, "clip-clap": save_clip_clap}
"""Writers of both encoders."""


def with_encoder(source: Path, folder: Path, encoder: str, *, grouping: bool = False) -> Path:
    """A copy of a tiny model folder with another encoder and a fresh input projection.

    Args:
        source: what `tiny.build_tiny_folder` wrote.
        folder: where to.
        encoder: a name of `ENCODERS`, or "imagebind" to keep the source's.
        grouping: read patch tokens rather than pooled vectors.
    """
    part = read_config(source).input_projection
    if grouping:
        part = dataclasses.replace(part, kind="grouping", inner_dim=16, num_heads=2)
    if encoder == "imagebind":
        swap_encoder(source, folder, input_projection=part)
    else:
        with tempfile.TemporaryDirectory() as place:
            config = ENCODERS[encoder](Path(place))
            towers = {name: Path(place) / name for name in config.towers}
            swap_encoder(source, folder, encoder=config, towers=towers, input_projection=part)
    weights = load_file(folder / "input_projection/model.safetensors")
    last = "out_fc.weight" if grouping else "linear.weight"
    weights[last] = weights[last] * 30.0  # so that what is seen changes what is said
    save_file(weights, folder / "input_projection/model.safetensors", metadata={"format": "pt"})
    manifest.write(folder)
    return folder
