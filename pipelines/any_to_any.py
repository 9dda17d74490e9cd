"""Any-to-any generation: a conversation in any mix of media in, an answer in any mix of media out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from anygen.checkpoints.folder import load_model, save_model
from anygen.checkpoints.lazy import Decoders
from anygen.checkpoints.licences import check_licences
from anygen.checkpoints.resolve import read_config, resolve
from anygen.config import AnyGenConfig, unknown_name
from anygen.errors import AnyGenError, BadArgument, MissingPart
from anygen.media import MediaLimits
from anygen.messages import Message, is_batch, parse_conversation
from anygen.modality import Modality
from anygen.model import AnyGenModel

from .answering import Answering, Request
from .events import Event
from .media_inputs import with_messages
from .memory import manage, options_for_llm
from .options import (
    DTYPES,
    TEXT_OPTIONS,
    compute_device,
    compute_dtype,
    media_options,
    output_modalities,
    request_seeds,
    text_options,
)
from .planning import MemoryPlan, plan
from .streaming import Stop, iterate

MOST_REQUESTS = 4096
"""Most conversations of one call."""


class AnyGenPipeline:
    """Answers conversations with text, images, audio and video.

    Args:
        model: language model, projections and encoder.
        tokenizer: the language model's, signal tokens included.
        config: names, sizes and defaults.
        decoders: what makes images, audio and video.
        folder: model folder that the parts come from; `save_pretrained` copies unchanged parts from it.
        limits: how large media may be.
        batch_size: requests, media or groups that go through a part at once.
        memory_plan: what may be in memory together; None keeps everything.
    """

    def __init__(
        self,
        model: AnyGenModel,
        tokenizer: Any,
        config: AnyGenConfig,
        *,
        decoders: Decoders,
        folder: Path | None = None,
        limits: MediaLimits | None = None,
        batch_size: int = 16,
        memory_plan: MemoryPlan | None = None,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise BadArgument(f"`batch_size` is {batch_size!r}, expected a whole number of 1 or more.")
        self.model, self.tokenizer, self.config, self.decoders = model, tokenizer, config, decoders
        self.folder, self.limits = folder, limits or MediaLimits()
        self.memory_plan = memory_plan
        self._use = manage(memory_plan, folder, model, config, decoders)
        self._answering = Answering(model, tokenizer, config, decoders, batch_size=batch_size, use=self._use)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        limits: MediaLimits | None = None,
        batch_size: int | None = None,
        memory_budget: int | str | None = None,
        quantization: str | None = None,
        accept_license: bool = False,
        compile: Iterable[Modality | str] = (),
    ) -> Self:
        """Load a model; encoder towers and decoders follow when they are first used.

        Args:
            name_or_path: bundled name, local folder, or hub id.
            device: where to compute; the CPU by default.
            dtype: type to compute in; float32 by default.
            revision: commit, tag or branch of a hub id.
            limits: how large media may be.
            batch_size: requests, media or groups that go through a part at once; 16, or 1 under a budget.
            memory_budget: most bytes to use, such as "12GiB": chooses what is not given, and lets parts come
                and go where they do not all fit.
            quantization: "8bit" or "4bit" for the language model, on CUDA alone.
            accept_license: accept the licences of all parts that restrict their use; remembered for the user.
            compile: outputs whose decoder's denoiser is compiled by `torch.compile` at its first call; worth
                it for many media of one size.

        Returns:
            A pipeline.

        Raises:
            LicenceNotAccepted: parts restrict their use, and it was never accepted.
            MissingPart: there is no such model, or it lacks a part.
            CheckpointCorrupt: a file does not have the hash of the manifest.
            WeightsMismatch: weights do not fit the configuration.
            BadArgument: no such device or type.
            LimitExceeded: the budget is too small for any way to run the model.
        """
        place, kind, chosen = compute_device(device), compute_dtype(dtype), None
        folder = resolve(name_or_path, revision=revision)
        check_licences(read_config(folder), accepted=accept_license)
        if memory_budget is not None or quantization is not None:
            named = None if dtype is None else str(kind).removeprefix("torch.")
            chosen = plan(
                folder, memory_budget, str(place), dtype=named, quantization=quantization,
                batch_size=batch_size or 1,
            )  # fmt: skip
            kind = DTYPES[chosen.dtype]
        if batch_size is None:
            batch_size = 16 if chosen is None else 1
        loaded = load_model(folder, device=place, dtype=kind, llm_options=options_for_llm(chosen, place))
        compiled = output_modalities(loaded.config, compile, compile=True) if compile else ()
        decoders = Decoders(loaded.config, folder, device=place, dtype=kind, compiled=compiled)
        return cls(
            loaded.model,
            loaded.tokenizer,
            loaded.config,
            decoders=decoders,
            folder=folder,
            limits=limits,
            batch_size=batch_size,
            memory_plan=chosen,
        )

    def plan(self, budget: int | str | None = None) -> MemoryPlan:
        """Say what this model takes of memory on its device, in its type.

        Args:
            budget: most bytes, such as "12GiB"; None for no limit.

        Returns:
            The plan, with the predicted peak of every phase; nothing is loaded or changed.

        Raises:
            LimitExceeded: the budget is too small; says what would do.
            MissingPart: the model does not come from a folder.
        """
        if self.folder is None:
            raise MissingPart("This model has no folder to plan by; save it with save_pretrained first.")
        place = self.model.device.type
        dtype = str(self.decoders.dtype).removeprefix("torch.")
        return plan(self.folder, budget, place, dtype=dtype)

    def __call__(
        self,
        conversation: Any,
        *,
        outputs: Iterable[Modality | str] | None = None,
        seed: int | Sequence[int] | None = None,
        image_options: dict[str, Any] | None = None,
        audio_options: dict[str, Any] | None = None,
        video_options: dict[str, Any] | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        do_sample: bool | None = None,
        cancel: Callable[[], bool] | None = None,
        **unknown: Any,
    ) -> Any:
        """Answer one conversation or a batch of them.

        Args:
            conversation: a text, a list of messages (dicts with role and content, `Message`, or earlier
                `Reply` objects), or a list of conversations.
            outputs: modalities that every answer must have; None lets the model decide.
            seed: fixes everything that is drawn; request i of a batch gets seed + i, or its own of a list.
            image_options: num_inference_steps, guidance_scale, height, width of images.
            audio_options: num_inference_steps, guidance_scale, audio_length_in_s of sounds.
            video_options: num_inference_steps, guidance_scale, height, width, num_frames of videos.
            max_new_tokens: most tokens of an answer.
            temperature: softmax temperature, with `do_sample`.
            top_p: share of the probability mass that is sampled from, with `do_sample`.
            do_sample: draw tokens; otherwise the most probable one is taken.
            cancel: asked between steps; when it says True, the call ends with `Cancelled`.
            **unknown: refused, naming the nearest option.

        Returns:
            A `Reply`, or a list of them for a batch.

        Raises:
            BadArgument: an unknown option or a value out of range.
            BadMedia: a medium cannot be read; BadText likewise; LimitExceeded when something is too large.
            MissingPart: the model cannot take or make a modality.
            Cancelled: `cancel` said so.
            OutOfMemory: memory ran out.
            NonFinite: a NaN or infinity appeared.
        """
        value = with_messages(conversation)
        batch = is_batch(value)
        given = _given(max_new_tokens, temperature, top_p, do_sample, unknown)
        media = {
            Modality.IMAGE: image_options,
            Modality.AUDIO: audio_options,
            Modality.VIDEO: video_options,
        }
        request = self._request(value if batch else [value], outputs, seed, media, given)
        replies = self._answering.answer(request, should_stop=cancel or Stop())
        return replies if batch else replies[0]

    def stream(
        self,
        conversation: Any,
        *,
        outputs: Iterable[Modality | str] | None = None,
        seed: int | None = None,
        image_options: dict[str, Any] | None = None,
        audio_options: dict[str, Any] | None = None,
        video_options: dict[str, Any] | None = None,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        do_sample: bool | None = None,
        **unknown: Any,
    ) -> Iterator[Event]:
        """Answer one conversation, event by event; leaving the iterator stops the work at its next step.

        Args:
            conversation: one conversation, as for a call.
            outputs: as for a call, like all that follow.
            seed: see above.
            image_options: see above.
            audio_options: see above.
            video_options: see above.
            max_new_tokens: see above.
            temperature: see above.
            top_p: see above.
            do_sample: see above.
            **unknown: refused, naming the nearest option.

        Returns:
            Iterator over `anygen.pipelines.events`: text deltas, media started, in progress and finished, and
            at the end `Done` with the reply. Arguments are checked here, before the first event.

        Raises:
            AnyGenError: as a call.
        """
        value = with_messages(conversation)
        if is_batch(value):
            raise BadArgument(
                "`stream` found several conversations, expected one; call the pipeline for a batch."
            )
        given = _given(max_new_tokens, temperature, top_p, do_sample, unknown)
        media = {
            Modality.IMAGE: image_options,
            Modality.AUDIO: audio_options,
            Modality.VIDEO: video_options,
        }
        return self.stream_request(self._request([value], outputs, seed, media, given))

    def stream_request(self, request: Request) -> Iterator[Event]:
        """Answer a checked request, event by event; `stream` is made of this.

        Args:
            request: with one conversation.

        Returns:
            As `stream`.
        """

        def work(report: Callable[[Event], None], stop: Stop) -> None:
            self._answering.answer(request, report=report, should_stop=stop)

        return iterate(work)

    def _request(
        self,
        conversations: Sequence[Any],
        outputs: Iterable[Modality | str] | None,
        seed: int | Sequence[int] | None,
        media: dict[Modality, dict[str, Any] | None],
        text: dict[str, Any],
    ) -> Request:
        """Check everything before anything is computed."""
        if len(conversations) > MOST_REQUESTS:
            raise BadArgument(f"Found {len(conversations)} conversations, expected at most {MOST_REQUESTS}.")
        checked = Request(
            conversations=[],
            outputs=output_modalities(self.config, outputs),
            seeds=request_seeds(seed, len(conversations)),
            media=media_options(self.config, media),
            text=text_options(self.config, text),
        )
        return replace(checked, conversations=[self._parse(c) for c in conversations])

    def _parse(self, conversation: Any) -> list[Message]:
        messages = parse_conversation(conversation, self.limits)
        if messages[-1].role != "user":
            raise BadArgument(
                f"The last message is the {messages[-1].role}'s, expected the user's; end with it."
            )
        return messages

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model as a folder that `from_pretrained` reads; it appears whole or not at all.

        Args:
            folder: where to; must not exist, be empty, or be a model folder.

        Raises:
            BadArgument: something else lies there.
        """
        source = self.folder
        encoder = source / "encoder" if source and (source / "encoder").is_dir() else None
        decoders: dict[Modality, Any] = {}
        for modality, part in self.config.decoders.items():
            local = source / "decoders" / modality.value if source else None
            if local is not None and local.is_dir():
                decoders[modality] = local
            elif part.reference is None:
                decoders[modality] = self.decoders[modality]
        card = source / "README.md" if source else None
        with self._use("llm"):
            save_model(
                folder,
                config=self.config,
                model=self.model,
                tokenizer=source / "tokenizer" if source else self.tokenizer,
                encoder=encoder,
                decoders=decoders,
                card=card.read_text(encoding="utf-8") if card and card.is_file() else "",
            )

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, commit_message: str = "Add the model"
    ) -> str:
        """Upload the model folder to the hub, with the login of `huggingface_hub`.

        Args:
            repo_id: "owner/name"; made when it does not exist.
            private: whether a new repository is private.
            commit_message: one line.

        Returns:
            Address of the commit.

        Raises:
            BadArgument: `repo_id` is no "owner/name".
            MissingPart: the hub cannot be reached, or it refuses.
        """
        if not isinstance(repo_id, str) or repo_id.count("/") != 1 or not all(repo_id.split("/")):
            raise BadArgument(f"`repo_id` is {repo_id!r}, expected owner/name.")
        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as place:
            self.save_pretrained(Path(place) / "model")
            try:
                api = HfApi()
                api.create_repo(repo_id, private=private, exist_ok=True)
                info = api.upload_folder(
                    repo_id=repo_id, folder_path=Path(place) / "model", commit_message=commit_message
                )
            except AnyGenError:
                raise
            except Exception as error:  # the hub client raises its own, httpx's and the system's errors
                raise MissingPart(
                    f"Cannot upload to {repo_id} ({type(error).__name__}); log in with `hf auth login` and "
                    "check the network."
                ) from None
        return str(info.commit_url)


def _given(
    max_new_tokens: Any, temperature: Any, top_p: Any, do_sample: Any, unknown: dict[str, Any]
) -> dict[str, Any]:
    valid = (*TEXT_OPTIONS, "outputs", "seed", "image_options", "audio_options", "video_options")
    for name in unknown:
        raise BadArgument(unknown_name(name, valid, "an option"))
    return {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "do_sample": do_sample,
    }
