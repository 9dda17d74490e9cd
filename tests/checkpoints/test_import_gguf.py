"""llama.cpp's files into plain folders: the same numbers, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from anygen.checkpoints import manifest
from anygen.checkpoints.importers import ImportRequest, import_checkpoint
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch
from anygen.llm import load_backbone

gguf = pytest.importorskip("gguf")

WIDTH, INNER, HEADS, LAYERS = 32, 48, 4, 2
WORDS = ["<|end|>", "<|start|>", "<|stop|>", *"abcdefghij", "ab", "cd"]


def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random numbers under llama.cpp's names."""
    shapes = {"token_embd": (len(WORDS), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        names = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "ffn_down": (WIDTH, INNER)}
        names |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
        names |= dict.fromkeys(("ffn_gate", "ffn_up"), (INNER, WIDTH))
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in names.items()}
    return {f"{n}.weight": rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def write_gguf(path: Path, *, arch: str = "llama", leave_out: str = "") -> dict[str, np.ndarray]:
    writer: Any = gguf.GGUFWriter(path, arch)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3, *[1] * (len(WORDS) - 3)])
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    found = tensors(np.random.default_rng(0))
    for name, tensor in found.items():
        if name != leave_out:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def imported(source: Path, destination: Path, **more: Any) -> Any:
    return import_checkpoint("gguf", ImportRequest(source=source, destination=destination, **more))


def test_a_file_becomes_a_plain_folder_with_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    written = write_gguf(path)
    report = imported(tmp_path, tmp_path / "out", sha256=manifest.sha256(path))
    assert report.tensors == len(written) and report.sha256 == manifest.sha256(path)
    assert report.kind == "gguf llama" and report.published is None
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found["model.embed_tokens.weight"], torch.from_numpy(written["token_embd.weight"]))
    down = found["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(down, torch.from_numpy(written["blk.1.ffn_down.weight"]))
    # llama.cpp keeps the two halves of each rotary pair side by side
    query = torch.from_numpy(written["blk.0.attn_q.weight"]).view(HEADS, -1, 2, WIDTH).transpose(1, 2)
    assert torch.equal(found["model.layers.0.self_attn.q_proj.weight"], query.reshape(WIDTH, WIDTH))
    llm = load_backbone(tmp_path / "out")
    assert llm.config.tie_word_embeddings and not hasattr(llm.config, "quantization_config")
    assert torch.equal(llm.lm_head.weight, found["model.embed_tokens.weight"])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer("abcd", add_special_tokens=False).input_ids
    assert [tokenizer.convert_ids_to_tokens(i) for i in ids] == ["ab", "cd"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    manifest.verify(
        tmp_path / "out", [p.name for p in (tmp_path / "out").iterdir() if p.name != manifest.NAME]
    )


def test_what_is_no_whole_model_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MissingPart, match="has 0 .gguf files; name the file"):
        imported(tmp_path, out)
    with pytest.raises(MissingPart, match="found no file gone.gguf"):
        imported(tmp_path / "gone.gguf", out)
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointCorrupt, match="other.gguf is no GGUF file"):
        imported(other, out)
    whole = tmp_path / "whole.gguf"
    write_gguf(whole)
    with pytest.raises(CheckpointCorrupt, match="has the SHA-256 [0-9a-f]{64}, expected 00"):
        imported(whole, out, sha256="00")
    with pytest.raises(CheckpointCorrupt, match="which is none of the published files'"):
        imported(whole, out, published=True)
    for size in (40, whole.stat().st_size - 2000):
        other.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(
            CheckpointCorrupt, match="other.gguf cannot be read as GGUF; fetch the file again"
        ):
            imported(other, out)
    write_gguf(other, leave_out="blk.1.ffn_up.weight")
    with pytest.raises(WeightsMismatch, match=r"1 tensors are missing .*layers.1.mlp.up_proj.weight"):
        imported(other, out)
    write_gguf(other, arch="clip")
    with pytest.raises(BadArgument, match="an architecture that transformers does not read from GGUF"):
        imported(other, out)
    assert not out.exists()
