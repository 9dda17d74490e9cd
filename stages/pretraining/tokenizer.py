"""Trains the small byte-level BPE tokenizers of the bundle's text encoders and language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from anygen.toybox.captions import caption
from anygen.toybox.scene import sample_scene

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int, lowercase: bool = False, wrap: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016), so any Unicode text has ids and decodes back.

    Args:
        texts: Training corpus.
        vocab_size: Ids in all, the three special tokens and 256 bytes included.
        lowercase: Fold case; for text encoders, which need not write.
        wrap: Put <s> and </s> around every text, as CLIP and RoBERTa do.
    """
    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        from tokenizers import normalizers

        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if wrap:
        ids = {token: tokenizer.token_to_id(token) for token in (BOS, EOS)}
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A {EOS}", special_tokens=list(ids.items())
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, padding_side="right"
    )


def caption_corpus(count: int, *, seed: int = 0) -> Iterator[str]:
    """Canonical and paraphrased captions of random subsets of seen scenes' attributes."""
    rng = np.random.default_rng((seed, 3))
    for index in range(count):
        attributes = sample_scene(rng).attributes()
        named = {k: v for k, v in attributes.items() if rng.random() < 0.7} or attributes
        yield caption(named, rng if index % 2 else None)
