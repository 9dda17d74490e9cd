"""Towers put together: parity with transformers, spaces side by side, and refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_towers as tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, ClapModel, CLIPModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from anygen.checkpoints.importers import ImportRequest, import_checkpoint
from anygen.checkpoints.importers.languagebind import languagebind_layout
from anygen.encoders.base import Encoder, Processor
from anygen.encoders.opening import EncoderFolder
from anygen.errors import BadArgument, BadMedia, BadText, MissingPart, WeightsMismatch
from anygen.media import Audio, Depth, Thermal, Video
from anygen.modality import Modality
from anygen.parts import EncoderConfig, TowerConfig

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 255, (40, 30, 3), dtype=np.uint8))
SOUND = Audio(samples=(0.3 * RNG.standard_normal((1, 9000))).clip(-1, 1).astype(np.float32), sample_rate=8000)
FILM = Video(frames=RNG.integers(0, 255, (7, 30, 40, 3), dtype=np.uint8), fps=4.0)
DISTANCE = Depth(meters=RNG.random((30, 40), dtype=np.float32) * 12)
HEAT = Thermal(values=RNG.random((30, 40), dtype=np.float32))
MEDIA: dict[Modality, Any] = {
    Modality.IMAGE: PICTURE, Modality.AUDIO: SOUND, Modality.VIDEO: FILM, Modality.DEPTH: DISTANCE,
    Modality.THERMAL: HEAT,
}  # fmt: skip
TEXTS = ["Show me a large red star", "a small blue circle moving left on a black background"]


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> EncoderFolder:
    folder = tmp_path_factory.mktemp("languagebind")
    return EncoderFolder(folder, tiny.save_languagebind(folder))


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    tiny.save_clip_clap(folder)
    return folder


@pytest.fixture(scope="module")
def pair(pair_folder: Path) -> EncoderFolder:
    return EncoderFolder(pair_folder, tiny.clip_clap_config())


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def adapted(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A published configuration with an adapter of rank 2, and its random weights."""
    vision = {**values["vision_config"], **values["languagebind"], "lora_r": 2, "lora_alpha": 6}
    published = {k: v for k, v in values.items() if k != "languagebind"} | {"vision_config": vision}
    state = tiny.random_state(languagebind_layout(published), 3, torch.float32)
    return published, {n: t * 0.2 if t.is_floating_point() else t for n, t in state.items()}


def by_hand(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Plain names, W + 6 / 2 * B A."""
    plain = {}
    for name, tensor in state.items():
        if ".lora_" not in name:
            low = state.get(name.removesuffix("weight") + "lora_A.default.weight")
            if low is not None:
                tensor = tensor + 3.0 * state[name.removesuffix("weight") + "lora_B.default.weight"] @ low
            plain[name.replace("encoder.base_model.model.", "encoder.")] = tensor
    return plain


def reference(values: dict[str, Any], plain: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """CLIP's own layers over hand-merged weights; the frames' attention written out from the paper."""
    own = values["languagebind"]
    frames = own.get("num_frames", 1)
    config = CLIPModel.config_class.from_dict(values).vision_config
    model = CLIPModel(CLIPModel.config_class.from_dict(values)).eval()
    weights = {n.removeprefix("vision_model."): t for n, t in plain.items() if n.startswith("vision_model.")}
    x = torch.nn.functional.conv2d(
        pixels.flatten(0, 1) if pixels.ndim == 5 else pixels,
        weights["embeddings.patch_embedding.weight"], stride=config.patch_size,
    ).flatten(2).transpose(1, 2)  # fmt: skip
    x = torch.cat([weights["embeddings.class_embedding"].expand(len(x), 1, -1), x], 1)
    x = x + weights["embeddings.position_embedding.weight"]
    norm = torch.nn.functional.layer_norm
    x = norm(x, x.shape[-1:], weights["pre_layrnorm.weight"], weights["pre_layrnorm.bias"], 1e-5)
    for number in range(config.num_hidden_layers):
        at = f"encoder.layers.{number}."
        if frames > 1:
            places = x.unflatten(0, (-1, frames)).transpose(1, 2) + weights[at + "temporal_embedding"]
            scale = weights[at + "temporal_layer_norm1.weight"], weights[at + "temporal_layer_norm1.bias"]
            attention = torch.nn.MultiheadAttention(16, 2, batch_first=True).eval()
            parts = [weights[f"{at}temporal_attn.{n}_proj.{e}"] for e in ("weight", "bias") for n in "qkv"]
            attention.load_state_dict({
                "in_proj_weight": torch.cat(parts[:3]), "in_proj_bias": torch.cat(parts[3:]),
                "out_proj.weight": weights[at + "temporal_attn.out_proj.weight"],
                "out_proj.bias": weights[at + "temporal_attn.out_proj.bias"],
            })  # fmt: skip
            flat = norm(places.flatten(0, 1), x.shape[-1:], *scale, 1e-5)
            places = places + attention(flat, flat, flat)[0].unflatten(0, places.shape[:2])
            x = places.transpose(1, 2).flatten(0, 1)
        layer = CLIPEncoderLayer(model.vision_model.config).eval()
        known = {n.removeprefix(at): t for n, t in weights.items() if n.startswith(at)}
        layer.load_state_dict({n: t for n, t in known.items() if not n.startswith("temporal")})
        x = layer(x, None)
    pooled = norm(
        x[:, 0], x.shape[-1:], weights["post_layernorm.weight"], weights["post_layernorm.bias"], 1e-5
    )
    return pooled.unflatten(0, (-1, frames)).mean(1) @ plain["visual_projection.weight"].T


@pytest.mark.parametrize("name", ["image", "video", "audio"])
def test_languagebind_is_clip_with_the_adapter_merged_by_hand(name: str, tmp_path: Path) -> None:
    values = tiny.clip_values(**tiny.OWN[name])
    published, state = adapted(values)
    source = tmp_path / "published"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(published))
    torch.save(state, source / "pytorch_model.bin")
    tiny.word_tokenizer().save_pretrained(source)
    import_checkpoint("languagebind", ImportRequest(source=source, destination=tmp_path / "encoder" / name))
    tower = TowerConfig(
        family="clip", modalities=(Modality(name), Modality.TEXT), width=tiny.CLIP_WIDTH, space="x"
    )
    folder = EncoderFolder(tmp_path / "encoder", EncoderConfig.of_towers({name: tower}))
    encoder, prepared = folder.load(dtype=torch.float32), folder.processor()
    inputs = torch.cat([prepared(Modality(name), [MEDIA[Modality(name)]])] * 2)
    plain = by_hand(state)
    with torch.no_grad():
        ours = encoder.encode(Modality(name), inputs)
        assert torch.allclose(ours, unit(reference(values, plain, inputs)), atol=1e-5)
        ids = prepared(Modality.TEXT, TEXTS)
        if name == "image":
            whole = CLIPModel(CLIPModel.config_class.from_dict(values)).eval()
            whole.load_state_dict(plain)
            texts = whole.get_text_features(ids).pooler_output
            assert torch.allclose(encoder.encode(Modality.TEXT, ids), unit(texts), atol=1e-5)
            images = whole.get_image_features(inputs).pooler_output
            assert torch.allclose(ours, unit(images), atol=1e-5)


def test_clip_and_clap_are_transformers_own(pair: EncoderFolder, pair_folder: Path) -> None:
    encoder, prepare = pair.load(dtype=torch.float32), pair.processor()
    clip = CLIPModel.from_pretrained(pair_folder / "clip").eval()
    clap = ClapModel.from_pretrained(pair_folder / "clap").eval()
    tokenizer = AutoTokenizer.from_pretrained(pair_folder / "clap")
    heard = slice(tiny.CLIP_WIDTH, None)
    with torch.no_grad():
        pixels = prepare(Modality.IMAGE, [PICTURE])
        seen = encoder.encode(Modality.IMAGE, pixels)
        expected = unit(clip.get_image_features(pixels).pooler_output)
        assert torch.allclose(seen[:, : tiny.CLIP_WIDTH], expected, atol=1e-5)
        assert not seen[:, heard].any()
        mels = prepare(Modality.AUDIO, [SOUND])
        sound = encoder.encode(Modality.AUDIO, mels)
        clips = clap.get_audio_features(mels.flatten(0, 1)).pooler_output
        assert torch.allclose(sound[:, heard], unit(clips.mean(0, keepdim=True)), atol=1e-5)
        texts = encoder.encode(Modality.TEXT, prepare(Modality.TEXT, TEXTS))
        theirs = clap.get_text_features(**tokenizer(TEXTS, padding=True, return_tensors="pt")).pooler_output
        assert torch.allclose(texts[:, heard] * 2**0.5, theirs, atol=1e-5)
        rows = tokenizer(TEXTS, padding="max_length", max_length=10, truncation=True, return_tensors="pt")
        ids = rows["input_ids"]
        read = unit(clip.get_text_features(ids).pooler_output)
        assert torch.allclose(texts[:, : tiny.CLIP_WIDTH] * 2**0.5, read, atol=1e-5)
        cosines = texts @ torch.cat([seen, sound]).T
        assert torch.allclose(cosines[:, 0] * 2**0.5, (read @ expected.T)[:, 0], atol=1e-5)
    assert float(seen @ sound.T) == 0.0
    assert torch.allclose(texts.norm(dim=-1), torch.ones(2), atol=1e-6)


@pytest.mark.parametrize("modality", MEDIA)
def test_every_medium_has_one_vector_and_its_patches(bound: EncoderFolder, modality: Modality) -> None:
    encoder, prepare = bound.load([modality], dtype=torch.float32), bound.processor()
    assert isinstance(encoder, Encoder) and isinstance(prepare, Processor)
    assert encoder.modalities == {modality}
    inputs = prepare(modality, [MEDIA[modality]] * 2)
    with torch.no_grad():
        vectors = encoder.encode(modality, inputs)
        tokens = encoder.encode_tokens(modality, inputs)
    assert vectors.shape == (2, bound.embed_dim) and torch.allclose(vectors.norm(dim=-1), torch.ones(2))
    count = {Modality.VIDEO: 3 * 4, Modality.AUDIO: 2 * 4}.get(modality, 4)
    assert tokens.shape == (2, count, bound.embed_dim)
    assert torch.allclose(tokens.norm(dim=-1), torch.ones(2, count))


def test_sounds_of_any_length_do_not_depend_on_their_batch(pair: EncoderFolder) -> None:
    encoder, prepare = pair.load([Modality.AUDIO], dtype=torch.float32), pair.processor()
    long = Audio(samples=np.tile(SOUND.samples, 4), sample_rate=8000)
    with torch.no_grad():
        both = encoder.encode(Modality.AUDIO, prepare(Modality.AUDIO, [SOUND, long]))
        alone = [encoder.encode(Modality.AUDIO, prepare(Modality.AUDIO, [sound])) for sound in (SOUND, long)]
        cells = encoder.encode_tokens(Modality.AUDIO, prepare(Modality.AUDIO, [long]))
    assert torch.allclose(both, torch.cat(alone), atol=1e-6)
    assert cells.shape[0] == 1 and cells.shape[1] % 3 == 0


def test_only_what_is_needed_is_read(bound: EncoderFolder) -> None:
    assert bound.pieces([Modality.TEXT]) == ("image_text",) and bound.pieces([Modality.IMAGE]) == ("image",)
    model: Any = bound.load([Modality.TEXT], dtype=torch.bfloat16)
    assert all(name.startswith("halves.image_text.") for name in model.state_dict())
    assert next(model.parameters()).dtype == torch.bfloat16
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    with pytest.raises(MissingPart, match="Found no image loaded for image"):
        model.encode(Modality.IMAGE, torch.zeros(1, 3, 28, 28))
    with pytest.raises(MissingPart, match="Found no tower for imu in this encoder; it reads"):
        bound.pieces([Modality.IMU])


def test_what_cannot_be_read_is_refused(bound: EncoderFolder) -> None:
    encoder, prepare = bound.load([Modality.TEXT], dtype=torch.float32), bound.processor()
    with pytest.raises(BadMedia, match="Found an item of type str; expected Image"):
        prepare(Modality.IMAGE, ["star.png"])
    with pytest.raises(BadMedia, match="Found no image items"):
        prepare(Modality.IMAGE, [])
    with pytest.raises(BadText, match="Found int; expected a string"):
        prepare(Modality.TEXT, [3])
    with pytest.raises(BadArgument, match=r"text inputs of shape \(1, 3\), expected \(N, 10\)"):
        encoder.encode(Modality.TEXT, torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(BadArgument, match="found texts, expected media"):
        encoder.encode_tokens(Modality.TEXT, torch.zeros(1, 10, dtype=torch.long))


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tiny.save_clip(tmp_path / "clip", tiny.clip_values())
    tower = tiny.clip_clap_config().towers["clip"]

    def opened(**changes: Any) -> EncoderFolder:
        return EncoderFolder(
            tmp_path, EncoderConfig.of_towers({"clip": dataclasses.replace(tower, **changes)})
        )

    with pytest.raises(WeightsMismatch, match="Tower clip has width 8, the model's config.json says 9"):
        opened(width=9).load(dtype=torch.float32)
    with pytest.raises(BadArgument, match="Tower clip is a clip, the model's config.json says clap"):
        opened(family="clap").load(dtype=torch.float32)
    weights = load_file(tmp_path / "clip/model.safetensors")
    weights.pop("vision_model.post_layernorm.bias")
    save_file(weights, tmp_path / "clip/model.safetensors")
    with pytest.raises(WeightsMismatch, match=r"Found no vision_model.post_layernorm.bias \(1 missing"):
        opened().load(dtype=torch.float32)
    (tmp_path / "clip/config.json").unlink()
    with pytest.raises(MissingPart, match="Found no config.json in clip; expected a clip folder"):
        opened().processor()(Modality.IMAGE, [PICTURE])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "imagebind"}, "an encoder of kind imagebind has 2 towers"),
        ({"embed_dim": 3}, "into 20 dimensions, the encoder says .* and 3; correct it"),
        ({"modalities": (Modality.IMAGE,)}, "the towers read audio, image, text, video into"),
    ],
)
def test_configurations_that_contradict_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        dataclasses.replace(tiny.clip_clap_config(), **changes)


def test_towers_that_contradict_one_another() -> None:
    tower = tiny.clip_clap_config().towers["clip"]
    with pytest.raises(BadArgument, match="image is read by a and b"):
        EncoderConfig.of_towers({"a": tower, "b": dataclasses.replace(tower, space="other")})
    with pytest.raises(BadArgument, match="text is read by a and b"):
        EncoderConfig.of_towers({"a": tower, "b": dataclasses.replace(tower, modalities=(Modality.TEXT,))})
    with pytest.raises(BadArgument, match="tower b has width 9, its space clip 8"):
        other = dataclasses.replace(tower, modalities=(Modality.DEPTH,), width=9)
        EncoderConfig.of_towers({"a": tower, "b": other})
    with pytest.raises(BadArgument, match="a tower is named '../a'"):
        EncoderConfig.of_towers({"../a": tower})
