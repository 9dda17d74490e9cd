"""Twenty everyday questions that a tuned language model should still answer; no training sees them."""

from __future__ import annotations

QUESTIONS: tuple[str, ...] = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "What is 2 + 3?",
    "Name three colors.",
    "How do I make a cup of tea?",
    "Who wrote Romeo and Juliet?",
    "What is the largest planet in our solar system?",
    "Give me a tip for staying healthy.",
    "What is the opposite of cold?",
    "How many legs does a spider have?",
    "Explain what a computer is in one sentence.",
    "Tell me a fun fact about dogs.",
    "What should I do on a rainy afternoon?",
    "What is the freezing point of water?",
    "Translate 'good morning' to Spanish.",
    "Why do we need sleep?",
    "Write a short thank-you note to a teacher.",
    "Name a famous painter.",
    "What is the difference between a city and a village?",
    "How can I calm down when I am nervous?",
)
"""Facts, advice, explanations and small pieces of writing."""
