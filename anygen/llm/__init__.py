"""The language model: base, signal rows, adapter, fused media."""

from .answers import Answer, AnswerFinished, Event, FinishReason, SignalGroup, TextDelta
from .backbone import (
    ExtendedEmbedding,
    ExtendedHead,
    base_state_dict,
    build_backbone,
    extend_vocabulary,
    load_backbone,
    row_parameters,
    save_backbone,
    set_rows_enabled,
    token_logits,
)
from .fusion import fuse
from .half_products import HalfProductLinear, halve_products
from .lora import (
    ATTENTION_PROJECTIONS,
    adapter_disabled,
    add_lora,
    has_lora,
    load_adapter,
    lora_parameters,
    merge_lora,
    save_adapter,
    unmerge_lora,
)
from .sampling import TextPiece, sample
from .tower_adapter import add_tower_lora, merged_state

__all__ = [
    "ATTENTION_PROJECTIONS",
    "Answer",
    "AnswerFinished",
    "Event",
    "FinishReason",
    "SignalGroup",
    "TextDelta",
    "TextPiece",
    "sample",
    "ExtendedEmbedding",
    "ExtendedHead",
    "HalfProductLinear",
    "adapter_disabled",
    "add_lora",
    "add_tower_lora",
    "base_state_dict",
    "build_backbone",
    "extend_vocabulary",
    "fuse",
    "halve_products",
    "has_lora",
    "load_adapter",
    "load_backbone",
    "lora_parameters",
    "merge_lora",
    "merged_state",
    "row_parameters",
    "save_adapter",
    "save_backbone",
    "set_rows_enabled",
    "token_logits",
    "unmerge_lora",
]
