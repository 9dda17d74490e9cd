"""Decoders on disk: written, read, shared with diffusers, and refused when something is wrong."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AudioLDMPipeline, DiffusionPipeline, StableDiffusionPipeline, TextToVideoSDPipeline
from safetensors.torch import load_file, save_file

from anygen.decoders import DECODERS, Decoder, DecoderDefaults, DecoderParts, ImageDecoder, open_decoder
from anygen.errors import AnyGenError, BadArgument, BadText, CheckpointCorrupt, MissingPart, WeightsMismatch
from anygen.modality import Modality

PIPELINES = {
    Modality.IMAGE: StableDiffusionPipeline,
    Modality.AUDIO: AudioLDMPipeline,
    Modality.VIDEO: TextToVideoSDPipeline,
}


@pytest.mark.parametrize("modality", DECODERS)
def test_a_saved_decoder_comes_back_the_same(
    modality: Modality, folders: Any, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    made, read = make_decoder(modality), open_decoder(modality, folders[modality])
    assert isinstance(read, Decoder) and read.modality is modality
    assert read.spec == made.spec and read.parts.defaults == made.parts.defaults
    embeds = embeds_of(modality)
    assert torch.equal(made.sample(embeds, seeds=[1, 2]), read.sample(embeds, seeds=[1, 2]))
    assert "text_encoder" not in read.parts.loaded()
    assert torch.equal(made.encode_text(["a star"]), read.encode_text(["a star"]))
    assert torch.equal(made.parts.preview, read.parts.preview)
    assert not any(p.requires_grad for module in read.parts.loaded().values() for p in module.parameters())


@pytest.mark.parametrize("modality", DECODERS)
def test_diffusers_opens_what_we_save(modality: Modality, folders: Any) -> None:
    pipe = DiffusionPipeline.from_pretrained(folders[modality], local_files_only=True)
    assert isinstance(pipe, PIPELINES[modality])


@pytest.mark.parametrize("modality", DECODERS)
def test_we_open_what_diffusers_saves(
    modality: Modality,
    modules_of: Any,
    tmp_path: Path,
    make_decoder: Callable[..., Any],
    embeds_of: Callable[..., torch.Tensor],
) -> None:
    extra = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    PIPELINES[modality](
        **modules_of[modality], **(extra if modality is Modality.IMAGE else {})
    ).save_pretrained(tmp_path)
    read, made = open_decoder(modality, tmp_path), make_decoder(modality)
    assert read.spec == made.spec
    sizes = {Modality.AUDIO: {}, Modality.IMAGE: {"height": 16, "width": 16}}.get(
        modality, {"height": 16, "width": 16, "num_frames": 2}
    )
    embeds = embeds_of(modality)
    found = read.sample(embeds, seeds=[1, 2], num_inference_steps=2, **sizes)
    if modality is not Modality.AUDIO:
        expected = made.sample(
            embeds,
            seeds=[1, 2],
            num_inference_steps=2,
            guidance_scale=read.parts.defaults.guidance_scale,
            **sizes,
        )
        assert (found - expected).abs().max() < 1e-4
    else:
        assert found.shape == (2, 8 * 2 * 160)  # the UNet's sample_size x the autoencoder's factor x the hop


def test_official_defaults_are_the_published_ones(tmp_path: Path, modules_of: Any) -> None:
    TextToVideoSDPipeline(**modules_of[Modality.VIDEO]).save_pretrained(tmp_path)
    assert open_decoder(Modality.VIDEO, tmp_path).parts.defaults == DecoderDefaults(
        num_inference_steps=50, guidance_scale=9.0, height=320, width=576, num_frames=24, fps=8.0
    )


def test_weights_stay_on_disk_until_they_are_used(folders: Any) -> None:
    decoder = ImageDecoder.from_pretrained(folders[Modality.IMAGE])
    assert decoder.parts.loaded() == {} and decoder.parts.vae_factor == 2
    decoder.parts.load()
    assert set(decoder.parts.loaded()) == {"unet", "vae"}
    decoder.parts.load(text_encoder=True)
    assert set(decoder.parts.loaded()) == {"unet", "vae", "text_encoder"}


def test_generation_runs_without_a_text_encoder(
    folders: Any, tmp_path: Path, embeds_of: Callable[..., torch.Tensor]
) -> None:
    for modality, folder in folders.items():
        lean = tmp_path / modality
        shutil.copytree(folder, lean, ignore=shutil.ignore_patterns("text_encoder", "tokenizer"))
        full, read = open_decoder(modality, folder), open_decoder(modality, lean)
        embeds = embeds_of(modality)
        assert torch.equal(read.sample(embeds, seeds=[1, 2]), full.sample(embeds, seeds=[1, 2]))
        with pytest.raises(MissingPart, match="found no tokenizer, expected a tokenizer folder"):
            read.encode_text(["a star"])


def test_half_precision_on_disk_and_in_memory(
    folders: Any, tmp_path: Path, embeds_of: Callable[..., torch.Tensor]
) -> None:
    full = ImageDecoder.from_pretrained(folders[Modality.IMAGE])
    full.save_pretrained(tmp_path, dtype=torch.float16)
    assert load_file(next((tmp_path / "unet").glob("*.safetensors")))["conv_in.weight"].dtype == torch.float16
    assert full.parts.unet.dtype == torch.float32
    read = ImageDecoder.from_pretrained(tmp_path)
    assert read.parts.unet.dtype == torch.float32
    embeds = embeds_of(Modality.IMAGE)
    assert (read.sample(embeds, seeds=[1, 2]) - full.sample(embeds, seeds=[1, 2])).abs().max() < 0.02
    low = ImageDecoder.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert low.parts.unet.dtype == torch.bfloat16
    assert (low.sample(embeds, seeds=[1, 2]) - full.sample(embeds, seeds=[1, 2])).abs().mean() < 0.05
    low.parts.to(dtype=torch.float32)
    assert low.parts.unet.dtype == low.parts.dtype == torch.float32


def test_files_can_be_read_by_others(folders: Any) -> None:
    for path in folders[Modality.AUDIO].rglob("*.safetensors"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _drop_weight(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path)


def _add_weight(folder: Path) -> None:
    path = next((folder / "vae").glob("*.safetensors"))
    save_file(load_file(path) | {"extra": torch.zeros(1)}, path)


def _pickle_only(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    path.rename(path.with_suffix(".bin"))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_drop_weight, WeightsMismatch, r"unet: found 1 missing, 0 unexpected .*first: conv_in.weight"),
        (_add_weight, WeightsMismatch, r"vae: found 0 missing, 1 unexpected .*first: extra"),
        (_pickle_only, MissingPart, "found no safetensors weights in unet.*pickles are not read"),
        (
            lambda f: shutil.rmtree(f / "unet"),
            MissingPart,
            "image decoder: found no unet, expected a unet folder",
        ),
        (lambda f: (f / "unet/config.json").unlink(), MissingPart, "unet/config.json: found nothing"),
        (
            lambda f: (f / "decoder.json").write_text("{"),
            CheckpointCorrupt,
            "decoder.json: found no JSON object",
        ),
        (_edit("decoder.json", colour=1), BadArgument, "`colour` is not a field here"),
        (
            _edit("model_index.json", _class_name="AudioLDMPipeline"),
            BadArgument,
            "found a AudioLDMPipeline folder",
        ),
        (
            _edit("unet/config.json", _class_name="UNet3DConditionModel"),
            WeightsMismatch,
            "unet: found a UNet3DConditionModel",
        ),
        (
            _edit("scheduler/scheduler_config.json", _class_name="os.system"),
            BadArgument,
            "scheduler: found os.system",
        ),
    ],
)
def test_damaged_folders_are_refused(
    damage: Callable[[Path], None],
    error: type[AnyGenError],
    message: str,
    folders: Any,
    tmp_path: Path,
    embeds_of: Callable[..., torch.Tensor],
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(folders[Modality.IMAGE], folder)
    damage(folder)
    with pytest.raises(error, match=message):
        ImageDecoder.from_pretrained(folder)(embeds_of(Modality.IMAGE), seeds=[1, 2])


def test_other_mistakes_are_named(tmp_path: Path, make_decoder: Callable[..., Any], modules_of: Any) -> None:
    with pytest.raises(MissingPart, match="image decoder: found no folder"):
        ImageDecoder.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(BadArgument, match="decoder: found depth, expected one of image, audio, video"):
        open_decoder(Modality.DEPTH, tmp_path)
    spec = make_decoder(Modality.IMAGE).spec
    with pytest.raises(BadArgument, match="decoder part: found 'vocoder'"):
        DecoderParts(Modality.IMAGE, {"vocoder": None}, spec=spec, defaults=DecoderDefaults())
    for texts in ([], [3]):
        with pytest.raises(BadText, match="texts: found nothing or something that is not a text"):
            make_decoder(Modality.IMAGE).encode_text(texts)
    without = DecoderParts(
        Modality.IMAGE, {"unet": modules_of[Modality.IMAGE]["unet"]}, spec=spec, defaults=DecoderDefaults()
    )
    with pytest.raises(MissingPart, match="found no vae"):
        _ = without.vae


def test_long_texts_are_cut_and_said(
    make_decoder: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    for modality in DECODERS:
        caplog.clear()
        assert make_decoder(modality).encode_text(["a red star " * 9]).shape[0] == 1
        assert "a text was cut to the 6 tokens" in caplog.text
