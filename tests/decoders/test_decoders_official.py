"""Marks of old official folders: they load, or are refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from anygen.decoders import open_decoder
from anygen.decoders.loading import load_tokenizer
from anygen.modality import Modality

OLD_VAE = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def _official(folders: Any, modality: Modality, tmp_path: Path) -> Path:
    """A folder as official ones are: without our own two files."""
    folder = tmp_path / "official"
    shutil.copytree(folders[modality], folder)
    for name in ("decoder.json", "unconditional.safetensors"):
        (folder / name).unlink()
    return folder


def _weights(folder: Path, rename: Callable[[str], str], **more: torch.Tensor) -> None:
    path = next(folder.glob("*.safetensors"))
    save_file({rename(key): value for key, value in load_file(path).items()} | more, path)


def _old_vae_name(key: str) -> str:
    if ".attentions." in key:
        for new, old in OLD_VAE.items():
            key = key.replace(f".{new}.", f".{old}.")
    return key


def test_an_old_stable_diffusion_folder_loads(folders: Any, tmp_path: Path, make_decoder: Any) -> None:
    folder = _official(folders, Modality.IMAGE, tmp_path)
    vae = next((folder / "vae").glob("*.safetensors"))
    assert any("attentions" in key for key in load_file(vae))
    _weights(folder / "vae", _old_vae_name)
    ids = torch.arange(6).unsqueeze(0)
    _weights(
        folder / "text_encoder",
        lambda key: key if key.startswith("text_model.") else f"text_model.{key}",
        **{"text_model.embeddings.position_ids": ids},
    )
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "_diffusers_version": "0.6.0",
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    read, made = open_decoder(Modality.IMAGE, folder), make_decoder(Modality.IMAGE)
    assert torch.equal(read.encode_text(["a red star"]), made.encode_text(["a red star"]))
    embeds, options = read.encode_text(["a star"]), {"seeds": [1], "num_inference_steps": 2}
    found = read.sample(embeds, height=16, width=16, guidance_scale=2.0, **options)
    assert torch.allclose(found, made.sample(embeds, **options), atol=1e-5)


def test_half_precision_variants_load(
    folders: Any, tmp_path: Path, embeds_of: Callable[..., torch.Tensor]
) -> None:
    folder = _official(folders, Modality.IMAGE, tmp_path)
    for part in ("unet", "vae"):
        path = next((folder / part).glob("*.safetensors"))
        path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    decoder = open_decoder(Modality.IMAGE, folder)
    options = {"num_inference_steps": 1, "height": 16, "width": 16}
    assert decoder.sample(embeds_of(Modality.IMAGE), seeds=[1, 2], **options).shape == (2, 3, 16, 16)
    careful = open_decoder(Modality.IMAGE, folder, dtype=torch.float16)
    assert careful.parts.vae.dtype == torch.float32 and careful.parts.unet.dtype == torch.float16


def test_a_slow_tokenizer_without_a_class_of_its_own_loads(tmp_path: Path) -> None:
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "star</w>", *"star", "st", "ar</w>", "r</w>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\ns t\na r</w>\nst ar</w>\n")
    found = load_tokenizer(tmp_path, "CLIPTokenizer")
    assert found("a star").input_ids == [0, 2, 3, 1]
