"""NExT-GPT's delta: the exact table, bit for bit, and every broken variant refused with its reason."""

from __future__ import annotations

import dataclasses
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from import_files import (
    State,
    legacy_names,
    llama_tokenizer,
    random_state,
    rewrite_zip,
    save_delta,
    save_program,
)
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from anygen.checkpoints import manifest
from anygen.checkpoints.folder import load_model
from anygen.checkpoints.importers import ImportRequest
from anygen.checkpoints.importers.lora import BASE, AdapterSizes
from anygen.checkpoints.importers.nextgpt import (
    DELTA,
    OUTPUTS,
    DeltaSizes,
    delta_layout,
    find_stage,
    import_nextgpt,
)
from anygen.checkpoints.resolve import read_config
from anygen.config import EncoderConfig, LanguageModelConfig
from anygen.errors import AnyGenError, BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from anygen.llm import build_backbone
from anygen.modality import Modality
from anygen.presets import nextgpt
from anygen.tokens import SignalTokens

EMBED, HEAD = BASE + "model.embed_tokens.weight", BASE + "lm_head.weight"
LORA = BASE + "model.layers.1.self_attn.v_proj.lora_A.default.weight"
QUERY = OUTPUTS[Modality.VIDEO] + "query_embs"


def small_sizes(vocab_size: int) -> DeltaSizes:
    """The published table at width 16: the same code, the same names."""
    config = nextgpt(llm="Vicuna-7B v0", name="small")
    outputs = {
        m: dataclasses.replace(
            part, num_queries=min(part.num_queries, 7), inner_dim=8, ffn_dim=16, num_heads=2
        )
        for m, part in config.output_projections.items()
    }
    config = dataclasses.replace(
        config,
        encoder=EncoderConfig(embed_dim=12),
        llm=LanguageModelConfig(hidden_dim=16),
        output_projections=outputs,
    )
    return DeltaSizes(
        config=config,
        vocab_size=vocab_size,
        adapter=AdapterSizes(hidden_dim=16, num_layers=2, rank=4, alpha=4),
    )


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DeltaSizes, State]:
    """A folder as it was published, at width 16."""
    folder = tmp_path_factory.mktemp("7b_tiva_v0")
    sizes = small_sizes(llama_tokenizer(folder, legacy_names()))
    state = random_state(delta_layout(sizes))
    save_delta(folder / DELTA, state)
    return folder, sizes, state


def rebuilt(folder: Path, stage: int = 3) -> State:
    """The delta put together again from an imported folder."""
    place = BASE if stage == 3 else "llama_model."
    old, new = (load_file(folder / "adapter" / f"{n}.safetensors") for n in ("vocabulary", "signal_rows"))
    state = {
        place + "model.embed_tokens.weight": torch.cat([old["embed_tokens"], new["embed_tokens"]]),
        place + "lm_head.weight": torch.cat([old["lm_head"], new["lm_head"]]),
    }
    if stage == 3:
        for name, tensor in load_file(folder / "adapter" / "adapter_model.safetensors").items():
            state["llama_model." + name.replace(".weight", ".default.weight")] = tensor
    if stage != 2:
        for name, tensor in load_file(folder / "input_projection" / "model.safetensors").items():
            state[name.replace("linear.", "llama_proj.")] = tensor
    if stage != 1:
        for modality, prefix in OUTPUTS.items():
            part = load_file(folder / "output_projections" / modality.value / "model.safetensors")
            state |= {prefix + name: tensor for name, tensor in part.items()}
    return state


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_the_published_table() -> None:
    layout = delta_layout()
    assert len(layout) == 647
    assert sum(torch.Size(entry.shape).numel() for entry in layout.values()) == 396_045_568
    assert {entry.dtypes for entry in layout.values()} == {(torch.float16,)}
    shapes = {name: entry.shape for name, entry in layout.items()}
    assert shapes[EMBED] == shapes[HEAD] == (32038, 4096)
    assert shapes[BASE + "model.layers.31.self_attn.o_proj.lora_B.default.weight"] == (4096, 32)
    assert shapes["llama_proj.weight"] == (4096, 1024) and shapes["llama_proj.bias"] == (4096,)
    for modality, (queries, width) in {
        Modality.IMAGE: (77, 768), Modality.VIDEO: (77, 1024), Modality.AUDIO: (1, 512),
    }.items():  # fmt: skip
        own = {
            n.removeprefix(OUTPUTS[modality]): s for n, s in shapes.items() if n.startswith(OUTPUTS[modality])
        }
        assert len(own) == 129
        assert own["query_embs"] == (1, queries, 512) and own["model.weight"] == (width, 512)
        assert own["fc.weight"] == (512, 4096) and own["tfm.decoder.layers.3.norm3.bias"] == (512,)
        assert own["tfm.encoder.layers.0.self_attn.in_proj_weight"] == (1536, 512)


def test_a_delta_becomes_a_model_folder(official: tuple[Path, DeltaSizes, State], tmp_path: Path) -> None:
    folder, sizes, state = official
    done = import_nextgpt(ImportRequest(source=folder, destination=tmp_path / "out"), sizes)
    assert (done.kind, done.tensors, done.published) == ("nextgpt stage 3", len(state), None)
    assert done.parameters == sum(t.numel() for t in state.values())
    assert done.sha256 == manifest.sha256(folder / DELTA)
    assert len(done.notes) == 2  # encoder and language model are still missing
    manifest.verify(tmp_path / "out")
    assert_same(rebuilt(tmp_path / "out"), state)
    config = read_config(tmp_path / "out")
    assert config.chat_template == "vicuna_v0" and config.adapter.licence == "CC-BY-NC-SA-4.0"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    tokens = SignalTokens.of(tokenizer, config.signal_tokens)
    assert list(tokens.new_ids) == list(range(sizes.vocab_size, sizes.num_rows))
    assert tokens.groups[Modality.AUDIO][0] == sizes.vocab_size + 30


def test_an_imported_model_loads_and_has_the_deltas_weights(
    official: tuple[Path, DeltaSizes, State], tmp_path: Path
) -> None:
    folder, sizes, state = official
    llm = build_backbone(
        LlamaConfig(
            vocab_size=sizes.vocab_size + 1,  # Vicuna v0 was also published with one spare row
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=64, tie_word_embeddings=False,
        )
    )  # fmt: skip
    llm.save_pretrained(tmp_path / "llm")
    with pytest.raises(MissingPart, match="the llm folder out has no config.json and safetensors"):
        import_nextgpt(ImportRequest(source=folder, destination=tmp_path / "x", llm=tmp_path / "out"), sizes)
    import_nextgpt(ImportRequest(source=folder, destination=tmp_path / "out", llm=tmp_path / "llm"), sizes)
    loaded = load_model(tmp_path / "out")
    ids = torch.arange(sizes.num_rows)
    assert torch.equal(loaded.model.llm.get_input_embeddings()(ids), state[EMBED].float())
    hidden = torch.eye(16)
    logits = loaded.model.llm.get_output_embeddings()(hidden)
    assert torch.allclose(logits, state[HEAD].float().T, atol=1e-6)
    lora = loaded.model.llm.model.layers[1].self_attn.v_proj.lora_A["default"].weight
    assert torch.equal(lora, state[LORA].float())
    query = loaded.model.output_projections["video"].query_embs
    assert torch.equal(query, state[QUERY].float())
    out = loaded.model(torch.tensor([[1, *loaded.model.tokens.groups[Modality.IMAGE]]]))
    assert out.hidden_states.isfinite().all()


@pytest.mark.parametrize("stage", [1, 2])
def test_deltas_of_single_stages(
    official: tuple[Path, DeltaSizes, State], tmp_path: Path, stage: int
) -> None:
    folder, sizes, _ = official
    layout = delta_layout(sizes, stage)
    assert "llama_model.model.embed_tokens.weight" in layout and "llama_model.lm_head.weight" in layout
    assert find_stage(layout) == stage
    state = random_state(layout, seed=stage)
    path = save_delta(tmp_path / "stage.pt", state)
    request = ImportRequest(source=path, destination=tmp_path / "out", tokenizer=folder)
    done = import_nextgpt(request, sizes)
    assert done.kind == f"nextgpt stage {stage}" and not (tmp_path / "out" / "config.json").exists()
    assert_same(rebuilt(tmp_path / "out", stage), state)
    mixed = {name.replace("llama_model.", BASE): tensor for name, tensor in state.items()}
    save_delta(path, mixed)  # names of the third stage, without its tensors
    with pytest.raises(WeightsMismatch, match=r"\(stage 3\): \d+ missing: "):
        import_nextgpt(dataclasses.replace(request, destination=tmp_path / "no"), sizes)


def without(name: str) -> Callable[[State], State]:
    return lambda state: {k: t for k, t in state.items() if k != name}


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State], State]:
    return lambda state: {k: change(t) if k == name else t for k, t in state.items()}


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {k.replace(old, new): t for k, t in state.items()}


def more_rows(count: int) -> Callable[[State], State]:
    return lambda state: {k: torch.cat([t, t[:count]]) if k in (EMBED, HEAD) else t for k, t in state.items()}


def all_typed(dtype: torch.dtype) -> Callable[[State], State]:
    return lambda state: {k: t.to(dtype) for k, t in state.items()}


def poisoned(value: float, name: str = "llama_proj.bias") -> Callable[[State], State]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return changed(name, change)


BROKEN_STATES: dict[str, tuple[Callable[[State], State], str]] = {
    "no embedding": (without(EMBED), "1 missing: .*embed_tokens"),
    "no head": (without(HEAD), "1 missing: .*lm_head"),
    "no adapter tensor": (without(LORA), "1 missing: .*layers.1.self_attn.v_proj.lora_A"),
    "no projection bias": (without("llama_proj.bias"), "1 missing: llama_proj.bias"),
    "no queries": (without(QUERY), "1 missing: gen_text_hidden_fcs_video.0.query_embs"),
    "no audio projection": (
        lambda s: {k: t for k, t in s.items() if "_audio" not in k}, "129 missing: gen_text_hidden_fcs_audio",
    ),
    "no adapter at all": (lambda s: {k: t for k, t in s.items() if ".lora_" not in k}, "16 missing"),
    "a layer less": (lambda s: {k: t for k, t in s.items() if "layers.1.self_attn.q" not in k}, "2 missing"),
    "one tensor more": (lambda s: {**s, "extra": torch.ones(2).half()}, "1 unexpected: extra"),
    "one layer more": (
        lambda s: {**s, LORA.replace("layers.1", "layers.2"): s[LORA]}, "1 unexpected: .*layers.2",
    ),
    "optimizer state": (lambda s: {**s, "exp_avg": torch.ones(3)}, "1 unexpected: exp_avg"),
    "base weights": (
        lambda s: {**s, BASE + "model.layers.0.mlp.up_proj.weight": torch.ones(2, 2).half()}, "1 unexpected",
    ),
    "transposed projection": (changed("llama_proj.weight", lambda t: t.T.contiguous()), r"\(transposed\)"),
    "transposed adapter": (changed(LORA, lambda t: t.T.contiguous()), r"is \(16, 4\), expected \(4, 16\)"),
    "transposed embedding": (changed(EMBED, lambda t: t.T.contiguous()), "embed_tokens.* expected"),
    "swapped A and B": (
        lambda s: {k.replace("lora_A", "lora_?").replace("lora_B", "lora_A").replace("lora_?", "lora_B"): t
                   for k, t in s.items()}, "16 other shape",
    ),
    "flattened": (changed(QUERY, lambda t: t.reshape(-1)), "query_embs is "),
    "an axis more": (changed("llama_proj.bias", lambda t: t[None]), r"llama_proj.bias is \(1, 16\)"),
    "scalar": (changed("llama_proj.bias", lambda t: t[0].clone()), r"llama_proj.bias is \(\)"),
    "empty": (changed("llama_proj.bias", lambda t: t[:0].clone()), r"llama_proj.bias is \(0,\)"),
    "32042 rows": (more_rows(4), "2 other shape: .*lm_head.* is .*embed_tokens"),
    "32000 rows": (changed(EMBED, lambda t: t[:-38].clone()), "1 other shape: .*embed_tokens"),
    "rows differ": (changed(HEAD, lambda t: t[:-1].clone()), "1 other shape: .*lm_head"),
    "float32": (all_typed(torch.float32), "other type: .* is float32, expected float16"),
    "bfloat16": (all_typed(torch.bfloat16), "is bfloat16, expected float16"),
    "one float32": (changed(LORA, torch.Tensor.float), "1 other type: .* is float32"),
    "integers": (changed("llama_proj.bias", torch.Tensor.long), "is int64, expected float16"),
    "stage 2 names": (
        renamed("llama_model.base_model.model.", "llama_model."), "missing: .*base_model.*unexpected",
    ),
    "a wrapper's prefix": (renamed("llama", "module.llama"), "missing: llama.*unexpected: module"),
    "newer peft names": (renamed(".default.weight", ".weight"), "16 missing"),
    "8 image tokens": (lambda s: more_rows(4)(changed(LORA, torch.Tensor.clone)(s)), "2 other shape"),
    "not a number": (poisoned(float("nan")), "llama|linear.bias has a value that is no finite number"),
    "infinite": (poisoned(float("inf"), EMBED), "embed_tokens has a value that is no finite number"),
    "nothing": (lambda s: {}, "holds no dictionary of tensors"),
    "nested": (lambda s: {"model": s}, "holds a dict under 'model'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_STATES)
def test_broken_states_are_refused(
    official: tuple[Path, DeltaSizes, State], tmp_path: Path, name: str
) -> None:
    folder, sizes, state = official
    change, message = BROKEN_STATES[name]
    torch.save(change(dict(state)), tmp_path / DELTA)
    request = ImportRequest(source=tmp_path / DELTA, destination=tmp_path / "out", tokenizer=folder)
    with pytest.raises(WeightsMismatch, match=message) as caught:
        import_nextgpt(request, sizes)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [DELTA]


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 4
    path.write_bytes(bytes(data))


def _deflate(path: Path) -> None:
    rewrite_zip(path, lambda name, data: data, compress=True)


BROKEN_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "half": (lambda p: _cut(p, 0.5), "cut or damaged"),
    "end missing": (lambda p: _cut(p, 0.999), "cut or damaged"),
    "empty": (lambda p: _cut(p, 0), "neither a zip archive"),
    "flipped early": (lambda p: _flip(p, 0.3), "checksum is wrong|damaged|expected what torch.save writes"),
    "flipped in the middle": (lambda p: _flip(p, 0.55), "checksum is wrong|damaged|expected what torch"),
    "flipped late": (lambda p: _flip(p, 0.8), "checksum is wrong|damaged|expected what torch.save writes"),
    "malicious": (lambda p: save_program(p, b"cos\nsystem\n(S'touch pwned'\ntR."), "the name os.system"),
    "malicious beside weights": (
        lambda p: save_program(p, b"\x80\x02}X\x01\x00\x00\x00acbuiltins\neval\nX\x01\x00\x00\x001\x85Rs."),
        "the name builtins.eval",
    ),
    "deflate bomb": (_deflate, "is compressed"),
    "web page": (lambda p: p.write_bytes(b"<!DOCTYPE html>" * 99), "neither a zip archive"),
    "pointer": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "neither a zip"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_files_are_refused(
    official: tuple[Path, DeltaSizes, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, sizes, _ = official
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(folder / DELTA, tmp_path / DELTA)
    change, message = BROKEN_FILES[name]
    change(tmp_path / DELTA)
    request = ImportRequest(source=tmp_path / DELTA, destination=tmp_path / "out", tokenizer=folder)
    with pytest.raises(CheckpointCorrupt, match=message):
        import_nextgpt(request, sizes)
    assert [path.name for path in tmp_path.iterdir()] == [DELTA]


def test_the_tokenizer_is_the_deltas_own(official: tuple[Path, DeltaSizes, State], tmp_path: Path) -> None:
    folder, sizes, _ = official
    shutil.copyfile(folder / DELTA, tmp_path / DELTA)
    request = ImportRequest(source=tmp_path, destination=tmp_path.with_name("never"))
    with pytest.raises(MissingPart, match="the delta's folder has no tokenizer.model"):
        import_nextgpt(request, sizes)
    cases: list[tuple[list[str], str]] = [
        (legacy_names()[:-1], r"\[AUD7\] at no id, expected"),
        (
            ["<pad>", *legacy_names()],
            r"the tokenizer has <Img> at \d+, expected \d+; take the tokenizer from",
        ),
    ]
    for names, message in cases:
        llama_tokenizer(tmp_path, names)
        with pytest.raises(BadArgument, match=message):
            import_nextgpt(request, sizes)
    (tmp_path / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(AnyGenError, match="the tokenizer of .* cannot be read as a LLaMA tokenizer"):
        import_nextgpt(request, sizes)
    with pytest.raises(MissingPart, match="has no pytorch_model.pt; give the checkpoint's own"):
        import_nextgpt(ImportRequest(source=tmp_path.parent, destination=tmp_path / "x"), sizes)


@pytest.mark.slow
def test_the_delta_at_full_size(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, **{f"w{i}": i for i in range(1, 32000)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.add_tokens(legacy_names())
    (tmp_path / "in").mkdir()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path / "in")
    state = random_state(delta_layout())
    save_delta(tmp_path / "in" / DELTA, state)
    assert abs((tmp_path / "in" / DELTA).stat().st_size - 792_213_693) < 1_000_000  # the published size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = import_nextgpt(ImportRequest(source=tmp_path / "in", destination=tmp_path / "out"))
    assert (done.tensors, done.parameters) == (647, 396_045_568)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 1400  # MiB: mapped pages of source and copy, and one tensor
    assert_same(rebuilt(tmp_path / "out"), state)
    (tmp_path / "in" / DELTA).unlink()  # the state of 32042 rows is as large again
    for key in (EMBED, HEAD):
        state[key] = torch.cat([state[key], state[key][:4]])
    save_delta(tmp_path / "in" / DELTA, state)
    with pytest.raises(WeightsMismatch, match=r"is \(32042, 4096\), expected \(32038, 4096\)"):
        import_nextgpt(ImportRequest(source=tmp_path / "in", destination=tmp_path / "no"))
