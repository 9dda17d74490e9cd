"""ImageBind, PandaGPT, LLaVA, LanguageBind, AudioLDM and official folders: whole, or refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from import_files import State, random_state, save_delta
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel, LlamaConfig

from anygen.app import cli
from anygen.app.command_import import KINDS
from anygen.checkpoints import manifest
from anygen.checkpoints.importers import IMPORTERS, ImportReport, ImportRequest, import_checkpoint
from anygen.checkpoints.importers.audioldm import audioldm_table, import_audioldm
from anygen.checkpoints.importers.imagebind import imagebind_layout, import_imagebind
from anygen.checkpoints.importers.languagebind import clip_layout, import_languagebind, languagebind_layout
from anygen.checkpoints.importers.layout import Layout
from anygen.checkpoints.importers.llava import import_llava, llava_layout
from anygen.checkpoints.importers.lora import AdapterSizes
from anygen.checkpoints.importers.official import import_folder
from anygen.checkpoints.importers.pandagpt import SIZES, import_pandagpt, pandagpt_layout
from anygen.checkpoints.importers.refactor import RefactorSizes, group_layouts, import_refactor
from anygen.checkpoints.weights import load_weights
from anygen.config import EncoderConfig, LanguageModelConfig, OutputProjectionConfig
from anygen.decoders import AudioDecoder
from anygen.decoders.official import audioldm
from anygen.encoders.imagebind import ImageBindConfig, load_encoder
from anygen.encoders.imagebind.config import AudioTowerConfig, TextTowerConfig, VisionTowerConfig
from anygen.errors import (
    BadArgument,
    CheckpointCorrupt,
    LimitExceeded,
    MissingPart,
    WeightsMismatch,
)
from anygen.llm import build_backbone, load_backbone
from anygen.modality import Modality
from anygen.presets import nextgpt
from anygen.projections import GroupingProjection

SMALL = {"width": 8, "num_blocks": 1, "num_heads": 2}
ENCODER = ImageBindConfig(
    embed_dim=12,
    vision=VisionTowerConfig(**SMALL, image_size=28),
    text=TextTowerConfig(**SMALL, vocab_size=50),
    audio=AudioTowerConfig(**SMALL),
)
PANDA = (AdapterSizes(hidden_dim=8, num_layers=2, rank=2), AdapterSizes(hidden_dim=12, num_layers=3, rank=2))

Run = Callable[[ImportRequest], ImportReport]
AUDIO: dict[str, dict[str, Any]] = {
    "unet": {
        **audioldm(32)["unet"], "layers_per_block": 1, "attention_head_dim": 4,
        "block_out_channels": [32, 32, 64], "cross_attention_dim": [32, 32, 64],
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
        "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
        "projection_class_embeddings_input_dim": 16,
    },
    "vae": {**audioldm()["vae"], "block_out_channels": [32, 32, 64], "layers_per_block": 1},
    "text_encoder": {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "max_position_embeddings": 20, "projection_dim": 16},
    "vocoder": {**audioldm()["vocoder"], "upsample_initial_channel": 64},
}  # fmt: skip


def languagebind_config(**vision: Any) -> dict[str, Any]:
    """A config.json as LanguageBind's repositories have it, at width 16."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {
        "architectures": ["LanguageBindAudio"], "model_type": "LanguageBindAudio", "projection_dim": 8,
        "text_config": {**sizes, "vocab_size": 40, "max_position_embeddings": 10},
        "vision_config": {**sizes, "image_size": 28, "patch_size": 14, "lora_r": 4, "lora_alpha": 8,
                          "lora_dropout": 0.0, "add_time_attn": False, "num_frames": 1, **vision},
    }  # fmt: skip


def refactor_sizes() -> RefactorSizes:
    outputs = {
        m: OutputProjectionConfig(
            num_queries=3,
            cond_dim=8,
            inner_dim=8,
            num_encoder_layers=1,
            num_decoder_layers=1,
            num_heads=2,
            ffn_dim=8,
        )
        for m in Modality
        if m in nextgpt().output_projections
    }
    config = dataclasses.replace(
        nextgpt(),
        encoder=EncoderConfig(embed_dim=8),
        llm=LanguageModelConfig(hidden_dim=16),
        output_projections=outputs,
    )
    return RefactorSizes(config=config, num_rows=46, grouping_dim=8, grouping_heads=2)


def audio_layout() -> Layout:
    return audioldm_table(AUDIO)[0]


KINDS_OF_FILES: dict[str, tuple[str, Callable[[], Layout], Run]] = {
    "imagebind": (
        "imagebind_huge.pth", lambda: imagebind_layout(ENCODER), lambda r: import_imagebind(r, ENCODER),
    ),
    "pandagpt": (
        "pytorch_model.pt", lambda: pandagpt_layout(PANDA[0], 6), lambda r: import_pandagpt(r, PANDA, 6),
    ),
    "pandagpt 13B": (
        "pytorch_model.pt", lambda: pandagpt_layout(PANDA[1], 6), lambda r: import_pandagpt(r, PANDA, 6),
    ),
    "llava 1": (
        "mm_projector.bin", lambda: llava_layout("linear", 16, 8), lambda r: import_llava(r, (12, 16), 8),
    ),
    "llava 1.5": (
        "mm_projector.bin", lambda: llava_layout("mlp2x_gelu", 12, 8), lambda r: import_llava(r, (12, 16), 8),
    ),
    "languagebind": (
        "pytorch_model.bin", lambda: languagebind_layout(languagebind_config()), import_languagebind,
    ),
    "audioldm": ("audioldm-l-full.ckpt", audio_layout, lambda r: import_audioldm(r, AUDIO)),
    "refactor": (
        "mm_input_projector.bin",
        lambda: group_layouts(refactor_sizes())["grouping"] | group_layouts(refactor_sizes())["embed_tokens"],
        lambda r: import_refactor(r, refactor_sizes()),
    ),
}  # fmt: skip


def at(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State, str], State]:
    return lambda state, key: {n: change(t) if n == key else t for n, t in state.items()}


BREAKS: dict[str, tuple[Callable[[State, str], State], str]] = {
    "one gone": (lambda s, k: {n: t for n, t in s.items() if n != k}, "missing"),
    "one more": (lambda s, k: {**s, f"zzz.{k}": torch.ones(1)}, "unexpected: zzz"),
    "renamed": (lambda s, k: {n + "s" if n == k else n: t for n, t in s.items()}, "missing: .*unexpected: "),
    "transposed": (at(lambda t: t.T.contiguous()), "expected"),
    "a row more": (at(lambda t: torch.cat([t, t[:1]])), "expected"),
    "a row less": (at(lambda t: t[:-1].clone()), "expected"),
    "integers": (at(torch.Tensor.long), "is int64, expected"),
    "another float": (at(torch.Tensor.double), "is float64, expected"),
    "not a number": (at(lambda t: t * math.nan), "no finite number"),
}


def matrices(state: State) -> list[str]:
    """Up to four tensors with two different sides, from all over the file."""
    oblong = [n for n, t in state.items() if t.ndim == 2 and t.shape[0] != t.shape[1]]
    oblong = [n for n in oblong if "embed_tokens" not in n and state[n].is_floating_point()]
    return [oblong[i * (len(oblong) - 1) // 3] for i in range(4)]


def prepared(folder: Path, kind: str) -> tuple[Path, State, Run]:
    name, layout, run = KINDS_OF_FILES[kind]
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(languagebind_config()))
    return folder / name, random_state(layout()), run


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_every_kind_refuses_forty_broken_variants(tmp_path: Path, kind: str) -> None:
    path, state, run = prepared(tmp_path / "in", kind)
    torch.save(state, path)
    whole, refused = path.read_bytes(), 0
    for key in matrices(state):
        for change, message in BREAKS.values():
            torch.save(change(dict(state), key), path)
            with pytest.raises(WeightsMismatch, match=message):
                run(ImportRequest(source=path, destination=tmp_path / "out"))
            refused += 1
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointCorrupt):
            run(ImportRequest(source=path, destination=tmp_path / "out"))
        refused += 1
    assert refused >= 40 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_every_kind_refuses_what_is_broken(tmp_path: Path, kind: str) -> None:
    path, state, run = prepared(tmp_path / "in", kind)
    request = ImportRequest(source=path, destination=tmp_path / "out")
    for name, (change, message) in BREAKS.items():
        torch.save(change(dict(state), matrices(state)[-1]), path)
        with pytest.raises(WeightsMismatch, match=message):
            run(request)
        assert not (tmp_path / "out").exists(), name
    torch.save(state, path)
    for length in (100, path.stat().st_size // 2):
        data = path.read_bytes()
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointCorrupt, match="cut or damaged"):
            run(request)
        path.write_bytes(data)
    with pytest.raises(CheckpointCorrupt, match="has the SHA-256"):
        run(dataclasses.replace(request, sha256="0" * 64))
    path.unlink()
    with pytest.raises(MissingPart, match=r"(found no file|has no) "):
        run(request)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    torch.save(state, path)
    done = run(dataclasses.replace(request, sha256=manifest.sha256(path)))
    assert (done.tensors, done.parameters) == (len(state), sum(t.numel() for t in state.values()))
    manifest.verify(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "import.json").read_text())
    assert record["sources"] == [{"file": path.name, "sha256": done.sha256}]


@pytest.mark.parametrize("safe", [False, True])
def test_imagebind_in_both_forms(tmp_path: Path, safe: bool) -> None:
    layout = imagebind_layout()
    assert len(layout) == 1311
    state = random_state(imagebind_layout(ENCODER))
    state["modality_preprocessors.text.mask"].fill_(float("-inf")).triu_(1)
    path = tmp_path / ("model.safetensors" if safe else "imagebind_huge.pth")
    save_file(state, path) if safe else torch.save(state, path)
    (tmp_path / "merges.txt").write_text("#version\na b\n")
    request = ImportRequest(source=tmp_path / path.name, destination=tmp_path / "out" / "encoder")
    assert import_imagebind(request, ENCODER).notes == ()
    back = load_file(tmp_path / "out" / "encoder" / "model.safetensors")
    assert back.keys() == state.keys() and all(torch.equal(back[n], t) for n, t in state.items())
    model = load_encoder(tmp_path / "out" / "encoder")
    assert model.encode(Modality.IMAGE, torch.randn(1, 3, 28, 28)).shape == (1, 12)
    with pytest.raises(WeightsMismatch, match="other type: .* is float16, expected float32"):
        torch.save({n: t.half() for n, t in state.items()}, tmp_path / "half.pth")
        import_imagebind(ImportRequest(source=tmp_path / "half.pth", destination=tmp_path / "no"), ENCODER)
    (tmp_path / "merges.txt").unlink()
    again = dataclasses.replace(request, destination=tmp_path / "bare")
    assert "bpe_simple_vocab_16e6" in import_imagebind(again, ENCODER).notes[0]


def test_pandagpt_bit_for_bit(tmp_path: Path) -> None:
    assert [len(pandagpt_layout(sizes)) for sizes in SIZES] == [258, 322]
    state = random_state(pandagpt_layout(PANDA[1], 6))
    save_delta(tmp_path / "pytorch_model.pt", state)
    import_pandagpt(ImportRequest(source=tmp_path, destination=tmp_path / "out"), PANDA, 6)
    projection = load_file(tmp_path / "out" / "input_projection" / "model.safetensors")
    assert torch.equal(projection["linear.weight"], state["llama_proj.weight"])
    adapter = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    found = {"llama_model." + n.replace(".weight", ".default.weight"): t for n, t in adapter.items()}
    assert all(torch.equal(found.pop(n), t) for n, t in state.items() if ".lora_" in n) and not found
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert LoraConfig(**config).r == 2
    with pytest.raises(WeightsMismatch, match="is float32, expected float16"):
        torch.save({n: t.float() for n, t in state.items()}, tmp_path / "pytorch_model.pt")
        import_pandagpt(ImportRequest(source=tmp_path, destination=tmp_path / "no"), PANDA, 6)


def test_llava_bit_for_bit_in_every_type(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        state = random_state(llava_layout("mlp2x_gelu", 12, 8), dtype=dtype)
        torch.save(state, tmp_path / "mm_projector.bin")
        destination = tmp_path / str(dtype)
        import_llava(ImportRequest(source=tmp_path, destination=destination), (12,), 8)
        back = load_file(destination / "input_projection" / "model.safetensors")
        for ours, theirs in (("linear_1", "0"), ("linear_2", "2")):
            for end in ("weight", "bias"):
                expected = state[f"model.mm_projector.{theirs}.{end}"]
                assert back[f"{ours}.{end}"].dtype == dtype
                assert torch.equal(back[f"{ours}.{end}"], expected)
    torch.save(random_state(llava_layout("linear", 20, 8)), tmp_path / "mm_projector.bin")
    with pytest.raises(WeightsMismatch, match="a language model of width 20, expected 12 or 16"):
        import_llava(ImportRequest(source=tmp_path, destination=tmp_path / "no"), (12, 16), 8)
    state["model.mm_projector.0.bias"] = state["model.mm_projector.0.bias"].half()
    torch.save(state, tmp_path / "mm_projector.bin")
    with pytest.raises(WeightsMismatch, match="found types float16, float32, expected one for all"):
        import_llava(ImportRequest(source=tmp_path, destination=tmp_path / "no"), (12, 16), 8)


def test_languagebind_is_plain_clip_with_the_adapter_merged(tmp_path: Path) -> None:
    values = languagebind_config()
    torch.manual_seed(0)
    model = CLIPModel.from_pretrained(saved_clip(tmp_path / "clip", values)).eval()
    adapted = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"])
    inject_adapter_in_model(adapted, model.vision_model.encoder)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    state = {june_2023(name): t.detach().clone() for name, t in model.state_dict().items()}
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "vocab.json").write_text("{}")
    torch.save(
        {**state, "vision_model.embeddings.position_ids": torch.arange(5)[None]}, folder / "pytorch_model.bin"
    )
    done = import_checkpoint("languagebind", ImportRequest(source=folder, destination=tmp_path / "out"))
    assert done.tensors == len(state)
    merged = CLIPModel.from_pretrained(tmp_path / "out").eval()
    assert (tmp_path / "out" / "vocab.json").exists()
    pixels, ids = torch.randn(2, 3, 28, 28), torch.randint(0, 40, (2, 6))
    with torch.no_grad():
        ours, theirs = merged(ids, pixels), model(ids, pixels)
    assert torch.allclose(ours.image_embeds, theirs.image_embeds, atol=1e-6)
    assert torch.equal(ours.text_embeds, theirs.text_embeds)
    plain = CLIPModel.from_pretrained(tmp_path / "clip").eval()
    assert not torch.allclose(
        ours.image_embeds, plain(ids, pixels).image_embeds, atol=1e-3
    )  # merging mattered


def saved_clip(folder: Path, values: dict[str, Any]) -> Path:
    from anygen.checkpoints.importers.languagebind import _clip_config

    CLIPModel(_clip_config(values)).save_pretrained(folder)
    return folder


def june_2023(name: str) -> str:
    """The name that peft gave then, inside the wrapped vision encoder."""
    name = name.replace(".base_layer.", ".")
    start = "vision_model.encoder."
    return start + "base_model.model." + name.removeprefix(start) if name.startswith(start) else name


@pytest.mark.parametrize(
    ("vision", "count"),
    [
        ({"lora_r": 16, "num_mel_bins": 126, "target_length": 1036}, 0),
        ({"lora_r": 4, "add_time_attn": True, "num_frames": 8}, 2 * 11),
        ({"lora_r": 0, "add_time_attn": True, "num_frames": 8}, 2 * 11),
        ({"lora_r": 2}, 0),
        ({"lora_r": 0}, 0),
    ],
    ids=["audio", "video", "video fully tuned", "depth", "image"],
)
def test_languagebind_modalities(tmp_path: Path, vision: dict[str, Any], count: int) -> None:
    values = languagebind_config(**vision)
    plain, layout = clip_layout(values), languagebind_layout(values)
    assert len(plain) == len(clip_layout(languagebind_config())) + count
    assert len(layout) == len(plain) + (2 * 4 * 2 if vision["lora_r"] else 0)
    (tmp_path / "config.json").write_text(json.dumps(values))
    state = random_state(layout, dtype=torch.float32)
    torch.save(state, tmp_path / "pytorch_model.bin")
    import_languagebind(ImportRequest(source=tmp_path, destination=tmp_path.with_name("lb") / tmp_path.name))
    back = load_file(tmp_path.with_name("lb") / tmp_path.name / "model.safetensors")
    assert {name: tuple(t.shape) for name, t in back.items()} == {n: e.shape for n, e in plain.items()}
    place = "layers.1.temporal_attn.q_proj" if vision.get("add_time_attn") else "layers.1.self_attn.q_proj"
    prefix = "vision_model.encoder.base_model.model." if vision["lora_r"] else "vision_model.encoder."
    expected = state[f"{prefix}{place}.weight"]
    if vision["lora_r"]:
        low, high = (state[f"{prefix}{place}.lora_{x}.default.weight"] for x in "AB")
        expected = expected + 8 / vision["lora_r"] * high @ low
        del state[f"{prefix}{place}.lora_B.default.weight"]
        torch.save(state, tmp_path / "pytorch_model.bin")
        with pytest.raises(WeightsMismatch, match=f"1 missing: .*{place}.lora_B"):
            import_languagebind(ImportRequest(source=tmp_path, destination=tmp_path.with_name("no")))
    assert torch.allclose(back[f"vision_model.encoder.{place}.weight"], expected, rtol=1e-4, atol=1e-5)


def test_languagebind_configurations(tmp_path: Path) -> None:
    request = ImportRequest(source=tmp_path, destination=tmp_path.with_name("no"))
    with pytest.raises(MissingPart, match="has no config.json, expected it beside the weights"):
        import_languagebind(request)
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadArgument, match="config.json describes no CLIP model"):
        import_languagebind(request)
    with torch.device("meta"):
        sizes = {"num_attention_heads": 16, "num_hidden_layers": 24}
        full = languagebind_config(
            hidden_size=1024, intermediate_size=4096, image_size=224, lora_r=16, lora_alpha=16,
            num_mel_bins=126,
            target_length=1036, **sizes,
        )  # fmt: skip
        full["text_config"] |= {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "vocab_size": 49408, "max_position_embeddings": 77,
        }  # fmt: skip
        full["projection_dim"] = 768
        layout = languagebind_layout(full)
    numbers = sum(math.prod(entry.shape) for entry in layout.values())
    # the published file has 1,725,012,217 bytes: these float32 numbers, and 362 bytes of archive a tensor
    assert 0 < 1_725_012_217 - 4 * numbers < 400 * len(layout)


def test_audioldm_names_are_those_that_diffusers_converts(tmp_path: Path) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    layout, names, _ = audioldm_table(AUDIO)
    state = random_state(layout)
    unet = {
        k.replace("film_emb", "label_emb.0.0"): t for k, t in state.items() if k.startswith("model.diffusion")
    }
    theirs = convert_ldm_unet_checkpoint(dict(unet), {**AUDIO["unet"], "class_embed_type": None})
    ours = {new: state[old] for new, old in names["unet"].items() if not new.startswith("class_embedding")}
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], t) for n, t in theirs.items())
    vae = {k: t for k, t in state.items() if k.startswith("first_stage_model.") and ".vocoder." not in k}
    theirs = convert_ldm_vae_checkpoint(dict(vae), AUDIO["vae"])
    ours = {new: state[old] for new, old in names["vae"].items()}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[n].reshape(t.shape), t) for n, t in theirs.items())


def test_audioldm_becomes_a_decoder(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    layout, names, _ = audioldm_table(AUDIO)
    state = {name: t * 0.05 for name, t in random_state(layout).items()}
    state["scale_factor"] = torch.tensor(0.9)
    extra = {
        "betas": torch.zeros(1000), "model_ema.decay": torch.ones(()), "logvar": torch.zeros(1000),
        "cond_stage_model.model.audio_branch.x": torch.ones(2),
        "cond_stage_model.model.text_branch.embeddings.position_ids": torch.arange(20)[None],
        "cond_stage_model.model.text_transform.sequential.0.weight": torch.ones(2),
    }  # fmt: skip
    torch.save({"state_dict": state | extra, "global_step": 9}, tmp_path / "audioldm.ckpt")
    from tiny import word_tokenizer

    tokenizer: PreTrainedTokenizerFast = word_tokenizer()
    tokenizer.save_pretrained(tmp_path / "roberta")
    request = ImportRequest(
        source=tmp_path / "audioldm.ckpt", destination=tmp_path / "out", tokenizer=tmp_path / "roberta"
    )
    done = import_audioldm(request, AUDIO)
    assert done.tensors == len(state) and done.notes[0].startswith("6 tensors left out")
    for part, table in names.items():
        (file,) = (tmp_path / "out" / part).glob("*.safetensors")
        back = load_file(file)
        for new, old in table.items():
            assert torch.equal(back[new].reshape(state[old].shape), state[old])
            squeezed = part == "vae" and ".attentions.0.to_" in new and new.endswith("weight")
            assert back[new].ndim == state[old].ndim - 2 * squeezed
    decoder = AudioDecoder.from_pretrained(tmp_path / "out")
    decoder.parts.load()
    assert decoder.parts.get("vae").config.scaling_factor == pytest.approx(0.9)
    assert decoder.spec.width == 16
    torch.save({**state, "first_stage_model.loss.x": torch.ones(1)}, tmp_path / "audioldm.ckpt")
    with pytest.raises(WeightsMismatch, match="1 unexpected: first_stage_model.loss.x"):
        import_audioldm(dataclasses.replace(request, destination=tmp_path / "no"), AUDIO)


def test_audioldm_finds_its_width(tmp_path: Path) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    for found, expected in ((128, 128), (256, 256), (7, 256)):
        torch.save({first: torch.zeros(found, 8, 3, 3)}, tmp_path / "a.ckpt")
        request = ImportRequest(source=tmp_path / "a.ckpt", destination=tmp_path / "no")
        with pytest.raises(WeightsMismatch, match="missing: ") as caught:
            import_audioldm(request)
        wrong = f"{first} is (7, 8, 3, 3), expected ({expected}, 8, 3, 3)"
        assert (wrong in str(caught.value)) == (found == 7)


def test_refactor_parts(tmp_path: Path) -> None:
    sizes = refactor_sizes()
    groups = group_layouts(sizes)
    full = group_layouts(RefactorSizes())
    assert sum(math.prod(entry.shape) for entry in full["grouping"].values()) == 53_144_912
    assert full["image"]["model.mm_output_img_projector.out_fc.weight"].shape == (1024, 512)
    assert full["embed_tokens"]["model.embed_tokens.weight"].shape == (32036, 4096)
    rows = groups["embed_tokens"] | groups["lm_head"]
    inputs = random_state(groups["linear"] | rows, dtype=torch.bfloat16)
    outputs = random_state(groups["image"] | groups["audio"] | groups["video"] | rows, dtype=torch.bfloat16)
    torch.save(inputs, tmp_path / "mm_input_projector.bin")
    torch.save(outputs, tmp_path / "mm_output_projector.bin")
    request = ImportRequest(source=tmp_path, destination=tmp_path.with_name("r1"))
    done = import_refactor(request, sizes)
    assert set(done.kind.removeprefix("nextgpt ").split(", ")) == {
        "linear", "image", "audio", "video", "embed_tokens", "lm_head",
    }  # fmt: skip
    out = tmp_path.with_name("r1")
    back = load_file(out / "input_projection" / "model.safetensors")
    assert torch.equal(back["linear.weight"], inputs["model.mm_input_projector.weight"])
    video = load_file(out / "output_projections" / "video" / "model.safetensors")
    expected = {n: t for n, t in outputs.items() if "_vid_" in n}
    assert len(video) == len(expected)
    assert torch.equal(video["fc.weight"], outputs["model.mm_output_vid_projector.in_fc.weight"])
    assert torch.equal(video["model.bias"], outputs["model.mm_output_vid_projector.out_fc.bias"])
    assert torch.equal(
        load_file(out / "vocabulary" / "model.safetensors")["lm_head"], outputs["lm_head.weight"]
    )
    stage3 = {"base_model.model." + n: t for n, t in random_state(groups["grouping"]).items()}
    torch.save({n: t.half() for n, t in stage3.items()}, tmp_path / "non_lora_trainables.bin")
    lone = ImportRequest(source=tmp_path / "non_lora_trainables.bin", destination=tmp_path.with_name("r2"))
    import_refactor(lone, sizes)
    with torch.device("meta"):
        module = GroupingProjection(encoder_dim=8, llm_dim=16, inner_dim=8, num_heads=2)
    load_weights(module, tmp_path.with_name("r2") / "input_projection", "input_projection")
    assert module(torch.randn(1, 9, 8)).shape == (1, 8, 16)
    torch.save({"x": torch.ones(1)}, tmp_path / "non_lora_trainables.bin")
    with pytest.raises(WeightsMismatch, match="has no tensor of NExT-GPT's projectors"):
        import_refactor(dataclasses.replace(lone, destination=tmp_path.with_name("r3")), sizes)


def llama_folder(folder: Path, *, shards: int = 1) -> State:
    """A tiny Llama as older transformers saved it: .bin, perhaps in shards with an index."""
    model = build_backbone(
        LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            tie_word_embeddings=False,
        )
    )  # fmt: skip
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))
    state = {name: t.detach().half() for name, t in model.state_dict().items()}
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return state
    table = {}
    for i in range(shards):
        name = f"pytorch_model-{i + 1:05}-of-{shards:05}.bin"
        part = {n: t for k, (n, t) in enumerate(state.items()) if k % shards == i}
        torch.save(part, folder / name)
        table |= dict.fromkeys(part, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return state


@pytest.mark.parametrize("shards", [1, 3])
def test_official_folders(tmp_path: Path, shards: int) -> None:
    state = llama_folder(tmp_path / "in", shards=shards)
    (tmp_path / "in" / "modeling_evil.py").write_text("raise SystemExit")
    (tmp_path / "in" / "tokenizer_config.json").write_text("{}")
    (tmp_path / "in" / ".git").mkdir()
    (tmp_path / "in" / ".git" / "pytorch_model.bin").write_text("x")
    done = import_folder(ImportRequest(source=tmp_path / "in", destination=tmp_path / "out"))
    assert done.tensors == len(state) and done.notes == ("left behind: modeling_evil.py",)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not any(name.endswith((".bin", ".py")) for name in names) and "tokenizer_config.json" in names
    model = load_backbone(tmp_path / "out", dtype=torch.float16)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    if shards > 1:
        (tmp_path / "in" / "pytorch_model-00002-of-00003.bin").unlink()
        with pytest.raises(CheckpointCorrupt, match="and the shards differ in .* tensors"):
            import_folder(ImportRequest(source=tmp_path / "in", destination=tmp_path / "no"))
        return
    for change, message in (
        ({"extra": torch.ones(1)}, "1 unexpected: extra"),
        ({"lm_head.weight": torch.ones(41, 16)}, r"lm_head.weight is \(41, 16\), expected \(40, 16\)"),
    ):
        torch.save({**state, **change}, tmp_path / "in" / "pytorch_model.bin")
        with pytest.raises(WeightsMismatch, match=message):
            import_folder(ImportRequest(source=tmp_path / "in", destination=tmp_path / "no"))
    described = json.loads((tmp_path / "in" / "config.json").read_text())
    (tmp_path / "in" / "config.json").write_text(json.dumps({**described, "model_type": "evil"}))
    with pytest.raises(BadArgument, match="config.json describes no language model that transformers knows"):
        import_folder(ImportRequest(source=tmp_path / "in", destination=tmp_path / "no"))
    (tmp_path / "in" / "config.json").write_text(json.dumps(described))
    torch.save({**state, "model.rotary_emb.inv_freq": torch.ones(4)}, tmp_path / "in" / "pytorch_model.bin")
    import_folder(ImportRequest(source=tmp_path / "in", destination=tmp_path / "again"))


def test_official_folders_that_are_refused(tmp_path: Path) -> None:
    def request(source: Path, **more: Any) -> ImportRequest:
        return ImportRequest(source=source, destination=tmp_path / "no", **more)

    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingPart, match="the folder empty has no pytorch_model.bin"):
        import_folder(request(tmp_path / "empty"))
    with pytest.raises(BadArgument, match="found a file x, expected an official folder"):
        import_folder(request(tmp_path / "x"))
    parts = tmp_path / "sd"
    for name in ("unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"):
        (parts / name).parent.mkdir(parents=True)
        torch.save({"w": torch.ones(3)}, parts / name)
    with pytest.raises(BadArgument, match="found one hash for 2 files"):
        import_folder(request(parts, sha256="0" * 64))
    import_folder(ImportRequest(source=parts, destination=tmp_path / "out"))
    assert (tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert (tmp_path / "out" / "text_encoder" / "model.safetensors").is_file()
    one = torch.ones(200_000)
    torch.save({str(i): one for i in range(9)}, parts / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(LimitExceeded, match="unpacks to 7200000 bytes from"):
        import_folder(request(parts))
    save_file({"w": torch.ones(3)}, parts / "unet" / "diffusion_pytorch_model.safetensors")
    import_folder(ImportRequest(source=parts, destination=tmp_path / "both"))  # safetensors are there already


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(IMPORTERS) == KINDS
    torch.save(random_state(llava_layout("linear", 4096), dtype=torch.float16), tmp_path / "mm_projector.bin")
    out = tmp_path / "out"
    assert cli.main(["import", "llava", str(tmp_path / "mm_projector.bin"), str(out)]) == 0
    printed, notes = capsys.readouterr()
    assert printed == f"{out}\n" and "llava linear: 2 tensors, 4,198,400 numbers" in notes
    assert (
        f"SHA-256 {manifest.sha256(tmp_path / 'mm_projector.bin')} (not the hash of a published file)"
        in notes
    )
    bad = ["import", "pandagpt", str(tmp_path / "mm_projector.bin"), str(tmp_path / "no"), "--quiet"]
    assert cli.main(bad) == 2
    error = capsys.readouterr().err
    assert error.startswith("anygen: mm_projector.bin: 258 missing") and error.count("\n") == 1
    assert cli.main([*bad, "--sha256", "00"]) == 2
    assert "expected 00" in capsys.readouterr().err
    assert cli.main(["import", "nextgpt", str(tmp_path), str(tmp_path / "no")]) == 2
    assert "has no pytorch_model.pt" in capsys.readouterr().err
    torch.save({"x": torch.ones(1)}, tmp_path / "mm_input_projector.bin")
    with pytest.raises(WeightsMismatch, match="mm_input_projector.bin: 1 missing: model.embed_tokens.weight"):
        import_checkpoint("nextgpt", ImportRequest(source=tmp_path, destination=tmp_path.with_name("no")))
