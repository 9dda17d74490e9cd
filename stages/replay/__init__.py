"""What a language model says by itself, kept as training data so that tuning does not take it away."""

from __future__ import annotations

from .answers import ReplayAnswer, read_answers, replay_prompt, write_answers
from .prompts import everyday_prompts

__all__ = ["ReplayAnswer", "everyday_prompts", "read_answers", "replay_prompt", "write_answers"]
