"""The full-size presets: every number of the report comes from modules that are really built."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from anygen.app import cli
from anygen.app.command_inspect import _print_table, summarise
from anygen.checkpoints.folder import build_input_projection, build_output_projection
from anygen.checkpoints.inspection import PartReport, inspect_model
from anygen.config import EncoderConfig, InputProjectionConfig
from anygen.decoders.official import OFFICIAL, build_networks, official_networks
from anygen.encoders.imagebind import ImageBindModel, imagebind_huge
from anygen.errors import BadArgument, MissingPart
from anygen.language_models import VICUNA
from anygen.llm import build_backbone
from anygen.modality import Modality
from anygen.presets import PRESETS, nextgpt
from anygen.projections import GroupingProjection


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def reports() -> list[PartReport]:
    return inspect_model("nextgpt-7b")


def test_every_number_is_counted_on_built_modules(reports: list[PartReport]) -> None:
    config = PRESETS["nextgpt-7b"]()
    assert all(part.num_parameters == 0 for part in config.parts().values())  # nothing is written in
    parts = {part.name: part for part in reports}
    with torch.device("meta"):
        assert parts["encoder"].parameters == size(ImageBindModel(imagebind_huge())) == 1_200_781_057
        projection = build_input_projection(config)
        assert parts["input_projection"].parameters == size(projection) == 4_198_400
        llm = build_backbone(LlamaConfig(**VICUNA["Vicuna-7B v1.5"]["layers"]))
        assert parts["llm"].parameters == size(llm) == 6_738_415_616
        for modality, count in (
            (Modality.IMAGE, 31_958_784),
            (Modality.VIDEO, 32_090_112),
            (Modality.AUDIO, 31_788_544),
        ):
            output = build_output_projection(config, modality)
            assert parts[f"output_projections/{modality}"].parameters == size(output) == count
    assert parts["adapter"].parameters == 33_554_432
    assert parts["signal_rows"].parameters == 2 * 38 * 4096
    for modality, part in config.decoders.items():
        assert part.reference is not None
        networks = official_networks(modality, part.reference.repo_id)
        report = parts[f"decoders/{modality}"]
        assert report.components == {name: size(network) for name, network in networks.items()}
        assert report.parameters == sum(report.components.values())


def test_decoders_have_their_published_sizes(reports: list[PartReport]) -> None:
    parts = {part.name: part for part in reports}
    assert parts["decoders/image"].components == {
        "unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480,
    }  # fmt: skip
    assert parts["decoders/audio"].components["unet"] // 10**6 == 739  # table 1 of the AudioLDM paper
    assert parts["decoders/video"].components["unet"] // 10**6 == 1411


def test_trained_share_and_what_the_original_trained(reports: list[PartReport]) -> None:
    parts = reports
    trained, total = sum(p.trainable for p in parts), sum(p.parameters for p in parts)
    assert {p.name for p in parts if p.trainable} == {
        "input_projection", "adapter", "signal_rows",
        "output_projections/image", "output_projections/audio", "output_projections/video",
    }  # fmt: skip
    assert 0.010 < trained / total < 0.015
    (llm,) = (p for p in parts if p.name == "llm")
    assert llm.vocabulary == 2 * 32000 * 4096
    assert trained + llm.vocabulary == 396_045_568  # the numbers in the published 792 MB file


def test_the_table_ends_in_the_trained_share(
    reports: list[PartReport], capsys: pytest.CaptureFixture[str]
) -> None:
    _print_table(summarise("nextgpt-7b", reports), reports, sys.stdout)
    out = capsys.readouterr().out
    for text in ("decoders/audio", "  vocoder", "CC-BY-NC-4.0", "bfloat16", "frozen", "trained"):
        assert text in out
    assert "Trained: 133,901,568 of 11,949,691,977 parameters (1.12%), new rows alone." in out
    assert "NExT-GPT's own runs trained 396,045,568 (3.31%)" in out
    assert cli.main(["inspect", "nextgpt-13b", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["model", "parts", "parameters", "trainable"]
    assert all(list(p) == ["name", "parameters", "trainable", "licence", "source"] for p in report["parts"])
    assert {p["name"]: p["parameters"] for p in report["parts"]}["llm"] == 13_015_864_320


def test_variants_are_configurations() -> None:
    old = PRESETS["nextgpt-7b-v0"]()
    assert (old.chat_template, old.llm.reference, old.llm.context_length) == ("vicuna_v0", None, 2048)
    new = PRESETS["nextgpt-7b"]()
    assert new.chat_template == "vicuna_v1" and new.llm.reference is not None
    grouping = PRESETS["nextgpt-7b-grouping"]()
    assert grouping.input_projection == InputProjectionConfig(
        kind="grouping", num_tokens=8, licence="Apache-2.0", source="trained by the stages of anygen"
    )
    with torch.device("meta"):
        assert size(build_input_projection(grouping)) == 53_144_912
    assert PRESETS["nextgpt-13b"]().llm.hidden_dim == 5120
    for name, build in PRESETS.items():
        assert build().name == name
    broken = nextgpt(input_projection="qformer")
    with pytest.raises(
        BadArgument, match="`qformer` is not a kind of input projection; Valid: grouping, linear"
    ):
        build_input_projection(broken)


def test_grouping_makes_few_tokens_of_many() -> None:
    torch.manual_seed(0)
    module = GroupingProjection(encoder_dim=8, llm_dim=12, num_tokens=4, inner_dim=16, num_heads=2).eval()
    patches = torch.randn(2, 30, 8)
    tokens = module(patches)
    assert tokens.shape == (2, 4, 12)
    assert torch.allclose(tokens, module(patches[:, torch.randperm(30)]), atol=1e-5)  # groups, not places
    assert torch.allclose(tokens[1:], module(patches[1:]), atol=1e-5)
    module.train()
    module(patches).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())
    with pytest.raises(BadArgument, match=r"patch tokens of shape \(2, 8\), expected \(N, L, 8\)"):
        module(torch.randn(2, 8))


def test_unknown_decoders_are_refused() -> None:
    with pytest.raises(MissingPart, match="no configuration of a/b, expected one of stable-diffusion"):
        official_networks(Modality.IMAGE, "a/b")
    assert EncoderConfig(embed_dim=8).num_parameters == 0
    small = {"vae": {**OFFICIAL["cvssp/audioldm-l-full"]["vae"], "block_out_channels": [32, 32, 32]}}
    assert next(build_networks(Modality.AUDIO, small)["vae"].parameters()).is_meta


def test_the_clean_stack_is_counted_and_may_be_used() -> None:
    parts = {part.name: part for part in inspect_model("clean-7b-audio")}
    assert all(part.parameters > 0 for part in parts.values())
    towers = [f"encoder/{name}" for name in ("image", "video", "audio", "depth", "thermal")]
    assert list(parts)[:5] == towers and {parts[name].licence for name in towers} == {"MIT"}
    assert set(parts["encoder/image"].components) == {"image", "image_text"}
    media = parts["encoder/depth"].parameters
    assert parts["encoder/image"].components["image"] == media
    assert parts["encoder/audio"].parameters == media + (666 - 256) * 1024  # 9 x 74 patches, not 16 x 16
    assert parts["llm"].parameters == 7_248_023_552
    assert parts["decoders/image"].components["unet"] == 865_910_724
    assert parts["decoders/video"].components["transformer"] // 10**8 == 14
    # the published file of the transformer has 4,227,806,200 bytes: these float32 numbers and a header
    assert 0 < 4_227_806_200 - 4 * parts["decoders/audio"].components["transformer"] < 200_000
    clean = {part.licence for name, part in parts.items() if name != "decoders/audio"}
    assert clean == {"MIT", "Apache-2.0", "CC-BY-SA-4.0"}
    config = PRESETS["clean-7b-clip"]()
    assert config.encoder.spaces == {"clip": 768, "clap": 512} and config.encoder.embed_dim == 1280
    assert Modality.AUDIO not in config.decoders
    with torch.device("meta"):
        assert build_input_projection(config).linear.weight.shape == (4096, 1280)
