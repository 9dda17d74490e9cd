"""Instruction samples by a local instruct model: told the captions, it answers as if it saw the medium.

LLaVA's way (arXiv 2304.08485, section 3) without a service: any causal language model with a chat template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from anygen.checkpoints.manifest import sha256
from anygen.errors import BadArgument, MissingPart
from anygen.llm import load_backbone
from anygen.modality import Modality

from ..records import Turn
from .grammar import plain
from .kinds import KINDS, Kind
from .parsing import parse
from .prompts import Prompts, load_prompts, shipped, source_text
from .subjects import Subject
from .trace import Rejected, Sample
from .wording import DETAILED, NAMES


class InstructModel:
    """Makes samples with a language model.

    Args:
        folder: A transformers folder with a chat template.
        seed: Of all that is drawn; on one machine a sample is a function of (seed, kind, number, subject).
        prompts: Folder of prompts; None for the package's.
        temperature: 0 for the most probable words.
        max_new_tokens: Most tokens of an answer; a longer one is rejected.
        device: Where the model computes.

    Raises:
        MissingPart: There is no model, or it has no chat template.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        prompts: Path | None = None,
        temperature: float = 0.7,
        max_new_tokens: int = 256,
        device: str = "cpu",
    ) -> None:
        if not (folder / "config.json").is_file():
            raise MissingPart(f"found no language model in {folder}, expected a transformers folder")
        self.name, self.seed = folder.resolve().name, seed
        self._prompts = {k: load_prompts(prompts or shipped(), k) for k in KINDS if k != "plain"}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if not getattr(self._tokenizer, "chat_template", None):
            raise MissingPart(f"the model {self.name} has no chat template, expected an instruct model")
        self._llm = load_backbone(folder).to(device)
        self._temperature, self._most = temperature, max_new_tokens
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(sha256(path).encode())
        self._about = {"weights_sha256": digest.hexdigest(), "temperature": str(temperature)}

    def about(self) -> dict[str, str]:
        """The hash of its weights, and the temperature."""
        return self._about

    def make(self, kind: Kind, subject: Subject, number: int) -> Sample:
        """One sample.

        Args:
            kind: Which.
            subject: What it is about.
            number: Which of this kind.

        Raises:
            Rejected: What the model wrote is not of the form asked for, or not about the subject.
        """
        rng = np.random.default_rng((self.seed, KINDS.index(kind), number))
        modality = list(subject.media)[int(rng.integers(len(subject.media)))]
        if kind == "plain":
            return Sample(turns=plain(subject, modality, rng))
        prompts = self._prompts[kind]
        text = self._answer(prompts, source_text(subject, [modality]), int(rng.integers(2**31)))
        turns = parse(kind, text, subject, modality, [answer for _, answer in prompts.examples])
        if kind == "detail":
            turns = (_asked(turns[0], modality, rng), *turns[1:])
        return Sample(turns=turns, more={"prompts_sha256": prompts.sha256})

    def _answer(self, prompts: Prompts, source: str, seed: int) -> str:
        ids = self._written(prompts, source).to(self._llm.device)
        torch.manual_seed(seed)
        drawn: dict[str, Any] = {"do_sample": False}
        if self._temperature > 0:
            drawn = {"do_sample": True, "temperature": self._temperature, "top_p": 0.9}
        with torch.inference_mode():
            output = self._llm.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=self._most,
                pad_token_id=self._tokenizer.eos_token_id, **drawn,
            )  # fmt: skip
        said = output[0, ids.shape[1] :]
        text = str(self._tokenizer.decode(said, skip_special_tokens=True))
        if len(said) >= self._most and said[-1] != self._tokenizer.eos_token_id:
            raise Rejected("cut", f"the answer has more than {self._most} tokens", text)
        return text

    def _written(self, prompts: Prompts, source: str) -> torch.Tensor:
        """Ids (1, S) of system text, examples and source, in the model's own chat template."""
        chat = [{"role": "system", "content": prompts.system}]
        for example, answer in (*prompts.examples, (source, None)):
            chat.append({"role": "user", "content": example})
            if answer is not None:
                chat.append({"role": "assistant", "content": answer})
        try:
            text = self._template(chat)
        except Exception as error:  # templates raise what they like where they know no system's turn
            first = {"role": "user", "content": f"{prompts.system}\n\n{chat[1]['content']}"}
            try:
                text = self._template([first, *chat[2:]])
            except Exception:
                raise BadArgument(f"the chat template of {self.name} takes no user's turn") from error
        encoded = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")
        ids: torch.Tensor = encoded.input_ids
        return ids

    def _template(self, chat: Sequence[dict[str, str]]) -> str:
        return str(self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))


def _asked(turn: Turn, modality: Modality, rng: np.random.Generator) -> Turn:
    """The request for a description, which the model does not write."""
    words = DETAILED[int(rng.integers(len(DETAILED)))].format(NAMES[modality])
    return Turn("user", (*turn.parts, words))
