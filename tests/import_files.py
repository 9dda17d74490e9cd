"""Checkpoints of other projects at random values: exact names, shapes and types, at any width."""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from anygen.checkpoints.importers.layout import Layout

State = dict[str, Tensor]


def random_state(layout: Layout, seed: int = 0, dtype: torch.dtype | None = None) -> State:
    """Every tensor of a layout, drawn at random; `dtype` chooses among several allowed ones."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, entry in layout.items():
        kind = dtype if dtype in entry.dtypes else entry.dtypes[0]
        values = torch.randn(entry.shape, generator=generator)
        state[name] = values.to(kind) if kind.is_floating_point else torch.ones(entry.shape, dtype=kind)
    return state


def save_delta(path: Path, state: State) -> Path:
    """Save as NExT-GPT and PandaGPT do: an OrderedDict of parameters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(OrderedDict((n, torch.nn.Parameter(t, requires_grad=False)) for n, t in state.items()), path)
    return path


def rewrite_zip(path: Path, change: Callable[[str, bytes], bytes], *, compress: bool = False) -> None:
    """Write an archive again with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def save_program(path: Path, code: bytes) -> Path:
    """An archive as torch.save makes it, around any pickle."""
    torch.save({"a": torch.zeros(2)}, path)
    rewrite_zip(path, lambda name, data: code if name.endswith("data.pkl") else data)
    return path


def llama_tokenizer(folder: Path, names: list[str]) -> int:
    """A small tokenizer.model with tokens added the way transformers 4.29 did; gives its own size."""
    import sentencepiece

    written = io.BytesIO()
    lines = [f"a small {color} star moving {way}" for color in ("red", "blue") for way in ("left", "right")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20), model_writer=written, vocab_size=290, model_type="bpe",
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    size: int = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue()).vocab_size()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    special = {
        key: {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        for key, text in (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"))
    }
    texts = {
        "added_tokens.json": {name: size + i for i, name in enumerate(names)},
        "special_tokens_map.json": {**special, "pad_token": "</s>"},
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True},
        "config.json": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    }
    for file, values in texts.items():
        (folder / file).write_text(json.dumps(values))
    return size


def legacy_names() -> list[str]:
    """The 38 new tokens of the published vocabulary, in its order."""
    groups = (("IMG", 4), ("VID", 24), ("AUD", 8))
    return ["<Img>", "</Img>", *(f"[{name}{i}]" for name, count in groups for i in range(count))]
