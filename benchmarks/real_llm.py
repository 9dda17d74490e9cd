"""Does a published language model that was taught to see caption scenes, and does it still chat as it did?

    python benchmarks/real_llm.py --count 100 --result runs/smollm2/encoder-alignment/result
    python benchmarks/real_llm.py --count 20 --only image --result runs/smollm2/encoder-alignment/checkpoints

Captions: media of scenes are rendered anew in wordings of the evaluation split, encoded, and described
greedily; the text oracle reads the words. A caption counts attribute by attribute, as far as its medium
shows them. `held out` are the pairs of shape and color that no training sample has. Chat: the language model
as it was published and the one inside the trained system must give the same logits, bit for bit, and the
same words.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from anygen.config import GenerationConfig, from_json
from anygen.encoders.imagebind import load_encoder, load_processor
from anygen.generation import generate
from anygen.llm import base_state_dict, load_backbone, set_rows_enabled
from anygen.modality import Modality
from anygen.prompting import SlotPart, TrainingTurn
from anygen.stages.checkpointing import load_newest
from anygen.stages.encoder_alignment import DESCRIBING
from anygen.stages.evaluation.grade import ALL, grade
from anygen.stages.evaluation.statistics import Tally
from anygen.stages.evaluation.toybox_requests import Request, build_request
from anygen.stages.run import build_stage, read_config
from anygen.stages.system import System, SystemConfig, load_trained
from anygen.toybox.dialogues import HELD_OUT_DIRECTIONS

CHATS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "What is 2 + 3?",
    "Name three colors.",
)
"""What the plain chat is asked."""

OPTIONS = GenerationConfig(max_new_tokens=32, do_sample=False)
"""Greedy."""


def open_system(settings: dict[str, Any], result: Path | None) -> System:
    """The stage's system as it begins, or with the projection of a result or of the newest checkpoint."""
    stage: Any = build_stage("encoder-alignment", settings)
    system: System = stage.system
    if result is not None and result.name == "checkpoints":
        checkpoint = load_newest(result)
        assert checkpoint is not None
        prefix = "model.model."
        trained = {n.removeprefix(prefix): t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}
        wrong = system.model.load_state_dict(trained, strict=False).unexpected_keys
        assert trained and not wrong, wrong
        print(f"checkpoint of step {checkpoint.step}")
    elif result is not None:
        load_trained(system.model, result)
    system.model.eval()
    return system


def turns(request: Request, encode: Any) -> list[TrainingTurn]:
    """A request with vectors in place of its media."""
    made = []
    for turn in request.conversation:
        parts = [
            part["text"] if part["type"] == "text"
            else SlotPart(Modality(part["type"]), encode(Modality(part["type"]), part[part["type"]]))
            for part in turn["content"]
        ]  # fmt: skip
        made.append(TrainingTurn(role=turn["role"], parts=tuple(parts)))
    return made


def captions(system: System, encode: Any, requests: list[Request], batch_size: int = 16) -> list[str]:
    """Greedy answers."""
    said = []
    for start in range(0, len(requests), batch_size):
        prompts = [system.builder.encode(turns(r, encode)) for r in requests[start : start + batch_size]]
        batch = system.builder.collate(prompts, side="left")
        vectors = torch.stack([slot.item for slot in batch.slots])
        answers = generate(
            system.model, system.builder, batch, media_vectors=vectors, options=OPTIONS,
            outputs=[[Modality.TEXT]] * len(prompts),
        )  # fmt: skip
        said += ["".join(p for p in answer.parts if isinstance(p, str)) for answer in answers]
    return said


def graded(system: System, encode: Any, direction: str, held_out: bool, count: int) -> dict[str, Any]:
    """Shares of right attributes of one direction."""
    requests = [build_request(direction, i, seed=0, held_out=held_out) for i in range(count)]
    said = captions(system, encode, requests)
    wanted = [request.asked[Modality.TEXT] for request in requests]
    found = grade(Modality.TEXT, said, wanted)
    right, all_ = (sum(v[i] for k, v in found.items() if k != ALL) for i in (0, 1))
    tallies = {**found, "attributes": (right, all_)}
    rows = {name: Tally(right=r, count=n).as_dict() for name, (r, n) in tallies.items()}
    return {"rows": rows, "examples": list(zip(said[:5], [r.answer for r in requests[:5]], strict=True))}


def unchanged(system: System, folder: str) -> dict[str, Any]:
    """What the chat of the published model and of the trained system have in common."""
    published, tokenizer = load_backbone(folder), AutoTokenizer.from_pretrained(folder)
    inside = system.model.llm
    state, base = published.state_dict(), base_state_dict(inside)
    found: dict[str, Any] = {
        "weights": all(torch.equal(base[name], tensor) for name, tensor in state.items()),
        "logits": True, "words": True, "chats": [],
    }  # fmt: skip
    set_rows_enabled(inside, False)
    for text in CHATS:
        chat = [{"role": "user", "content": text}]
        written = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(written, return_tensors="pt", add_special_tokens=False).input_ids
        answers = [greedy(llm, ids, tokenizer.eos_token_id) for llm in (published, inside)]
        found["logits"] &= all(torch.equal(a, b) for a, b in zip(*(a[1] for a in answers), strict=True))
        found["words"] &= answers[0][0] == answers[1][0]
        found["chats"].append((text, tokenizer.decode(answers[0][0], skip_special_tokens=True)))
    set_rows_enabled(inside, True)
    return found


@torch.no_grad()
def greedy(llm: Any, ids: Tensor, eos: int, most: int = 24) -> tuple[list[int], list[Tensor]]:
    """Tokens and logits of an answer."""
    said, logits, cache = [], [], None
    while len(said) < most and (not said or said[-1] != eos):
        embeds = llm.get_input_embeddings()(ids)
        output = llm.get_decoder()(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits.append(llm.get_output_embeddings()(output.last_hidden_state[:, -1]))
        ids = logits[-1].argmax(-1)[:, None]
        said.append(int(ids))
    return said, logits


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("stages/recipes/smollm2/encoder-alignment.yaml"))
    parser.add_argument(
        "--result",
        type=Path,
        help="`result` of a run, or its `checkpoints`; without it, the beginning",
    )
    parser.add_argument("--count", type=int, default=100, help="scenes of each kind")
    parser.add_argument("--only", action="append", help="modality; may be given several times")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = read_config(arguments.config)
    config = from_json(SystemConfig, run.stage["system"], where="stage.system")
    system = open_system(run.stage, arguments.result)
    encoder, processor = load_encoder(Path(config.encoder), None).eval(), load_processor(Path(config.encoder))

    def encode(modality: Modality, medium: Any) -> Tensor:
        with torch.no_grad():
            return encoder.encode(modality, processor(modality, [medium]))[0]

    found: dict[str, Any] = {}
    for direction in DESCRIBING:
        if arguments.only and direction.split("-")[0] not in arguments.only:
            continue
        for held_out in (False, True):
            if held_out and direction not in HELD_OUT_DIRECTIONS:
                continue
            name = f"{direction}, {'held out' if held_out else 'seen'}"
            found[name] = graded(system, encode, direction, held_out, arguments.count)
            shares = {k: f"{100 * v['share']:.1f}" for k, v in found[name]["rows"].items()}
            print(f"{name:<28}" + "  ".join(f"{k} {v}" for k, v in shares.items()), flush=True)
    found["chat"] = unchanged(system, config.llm)
    for name in ("weights", "logits", "words"):
        print(f"chat, {name}: {'the same' if found['chat'][name] else 'CHANGED'}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
