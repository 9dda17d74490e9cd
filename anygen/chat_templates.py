"""How conversations are written for a language model: one template a family of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .modality import Modality


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """How turns are written. Every text of a turn stands after one space and without spaces at its end."""

    control: tuple[str, ...] = ()
    """Special tokens of the tokenizer that the texts below are written with; in any other text the same
    characters stay characters."""
    bos: bool = True
    """Whether the tokenizer's bos, if it has one, stands first."""
    system_prefix: str = ""
    """What stands before a system text, if there is one."""
    system: str = ""
    """What stands first unless the conversation has its own system message."""
    system_end: str = ""
    """What follows a system text, if there is one."""
    opening: str = ""
    """What follows the system text, or begins the prompt where there is none."""
    user_prefix: str
    """What stands before a user's turn."""
    assistant_prefix: str
    """What stands before an assistant's turn, and ends a generation prompt."""
    turn_space: str = " "
    """What stands between such a prefix and a text right after it."""
    assistant_end: str = ""
    """Text that ends an assistant's turn; learned."""
    ends_with_eos: bool = True
    """Whether eos ends an assistant's turn; learned."""
    stop: tuple[str, ...] = ()
    """Texts at which generation ends, for models that learned no eos."""
    requests: bool = True
    """Whether users' words are written; without them media stand right before the answer."""
    media_names: Mapping[Modality, str] = field(default_factory=dict)
    """What is written before a medium, by modality. A film that stands still and its picture are one vector
    to ImageBind: only a name tells the model which of them it sees."""


_VICUNA = ChatTemplate(
    system=(
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
    ),
    user_prefix=" USER:",
    assistant_prefix=" ASSISTANT:",
)

MEDIA_NAMES: dict[Modality, str] = {
    Modality.IMAGE: "picture",
    Modality.VIDEO: "film",
    Modality.AUDIO: "sound",
    Modality.DEPTH: "depth map",
    Modality.THERMAL: "heat map",
    Modality.IMU: "motion trace",
}
"""Media in everyday words."""

TEMPLATES: dict[str, ChatTemplate] = {
    "vicuna": _VICUNA,
    "vicuna_v1": _VICUNA,
    "vicuna_v0": ChatTemplate(
        system_end="\n",
        opening="###",
        user_prefix=" Human:",
        assistant_prefix="\n### Assistant:",
        assistant_end="\n###",
        ends_with_eos=False,
        stop=("###",),
    ),
    "toybox": ChatTemplate(
        system_end="\n", user_prefix="Q:", assistant_prefix="\nA:", media_names=MEDIA_NAMES
    ),
    "smollm2": ChatTemplate(
        control=("<|im_start|>", "<|im_end|>"),
        bos=False,
        system_prefix="<|im_start|>system\n",
        system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        system_end="<|im_end|>",
        user_prefix="\n<|im_start|>user\n",
        assistant_prefix="<|im_end|>\n<|im_start|>assistant\n",
        turn_space="",
        media_names=MEDIA_NAMES,
    ),
    "plain": ChatTemplate(
        user_prefix="", assistant_prefix="", assistant_end="\n", ends_with_eos=False, stop=("\n",),
        requests=False,
    ),
}  # fmt: skip
"""Templates by name: FastChat's for Vicuna 1.1 and 1.5, the published NExT-GPT weights' (Vicuna 0, no system
text), a short one for small models, SmolLM2's own (ChatML with its system text, token for token what its
`chat_template` writes), and that of LLaVA's first stage (arXiv 2304.08485, section 4.2): media, then the
caption, no words of a user."""
