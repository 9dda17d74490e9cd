"""Texts to token ids: CLIP's tokenizer at full size, a small byte-level BPE for the toybox.

Both are kept as a `tokenizer.json`.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import ftfy
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from anygen.errors import BadText, MissingPart

from .config import TextTowerConfig

CLIP_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
CLIP_MERGES = 49152 - 256 - 2
"""Merges that CLIP uses of its file."""
WORD_END = "</w>"
TOKENIZER_FILE = "tokenizer.json"
MERGES_FILES = ("bpe_simple_vocab_16e6.txt.gz", "merges.txt")
"""Where official folders keep CLIP's merges."""


class TextTokenizer:
    """Texts to id rows of fixed length: start, words, end, padding.

    Args:
        tokenizer: Turns a string into ids, without adding start or end.
        config: Context length, special ids, cleaning.
    """

    def __init__(self, tokenizer: Tokenizer, config: TextTowerConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode N texts as (N, context_length) int64; a text that is too long is cut, its end token kept.

        Raises:
            BadText: Something that is not a string, or that holds a lone surrogate.
        """
        config = self.config
        rows = torch.full((len(texts), config.context_length), config.pad_token_id, dtype=torch.long)
        encodings = self.tokenizer.encode_batch([self._clean(t) for t in texts], add_special_tokens=False)
        for row, encoding in zip(rows, encodings, strict=True):
            ids = [config.start_token_id, *encoding.ids[: config.context_length - 2], config.end_token_id]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def _clean(self, text: str) -> str:
        check_text(text)
        if not self.config.clean:
            return text
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        return " ".join(text.split()).lower()

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into a folder."""
        self.tokenizer.save(str(folder / TOKENIZER_FILE))

    @classmethod
    def from_folder(cls, folder: Path, config: TextTowerConfig) -> TextTokenizer:
        """Read `tokenizer.json`, or CLIP's merges as official folders and packages ship them.

        Raises:
            MissingPart: The folder has none of these files.
        """
        if (folder / TOKENIZER_FILE).is_file():
            return cls(_plain(Tokenizer.from_file(str(folder / TOKENIZER_FILE))), config)
        for name in MERGES_FILES:
            if (folder / name).is_file():
                return cls(clip_tokenizer(read_merges(folder / name)), config)
        raise MissingPart(
            f"Found no {TOKENIZER_FILE}, {' or '.join(MERGES_FILES)} beside the encoder; "
            "expected CLIP's vocabulary. Copy one of them there (open_clip_torch ships it)."
        )


def check_text(text: object) -> None:
    """Raise BadText for something that is not a string, or that holds a lone surrogate.

    Args:
        text: what was given.
    """
    if not isinstance(text, str):
        raise BadText(f"Found {type(text).__name__}; expected a string.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadText(
            "Found a lone surrogate in a text; expected valid Unicode. Decode the bytes anew."
        ) from None


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Merges of CLIP's vocabulary file, plain or gzipped: one pair a line behind a version line."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = raw.decode().split("\n")[1 : CLIP_MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines if line)]


def clip_vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Token to id: the 256 bytes, the same at a word's end, one per merge, start and end of text."""
    byte_names = _byte_names()
    tokens = [
        *byte_names,
        *(name + WORD_END for name in byte_names),
        *(a + b for a, b in merges),
        *CLIP_SPECIAL,
    ]
    return {token: i for i, token in enumerate(tokens)}


def clip_tokenizer(merges: Sequence[tuple[str, str]], vocabulary: dict[str, int] | None = None) -> Tokenizer:
    """CLIP's BPE.

    Args:
        merges: Pairs in order of rank.
        vocabulary: Token to id; None numbers them as CLIP does, which is right for the full list of merges
            only.
    """
    vocabulary = clip_vocabulary(merges) if vocabulary is None else vocabulary
    model = models.BPE(vocab=vocabulary, merges=list(merges), end_of_word_suffix=WORD_END, fuse_unk=False)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token in CLIP_SPECIAL if token in vocabulary])
    return tokenizer


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE for a small world.

    It knows no special tokens, so no text can hold one: start and end take the two ids behind its own (see
    `special_ids`), the end the largest, which is what pooling looks for.

    Args:
        texts: Training texts, cleaned as they will be when encoded.
        vocab_size: Largest number of tokens; a small corpus may give fewer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Fields of `TextTowerConfig` that follow from a tokenizer without special tokens."""
    size = tokenizer.get_vocab_size()
    return {"vocab_size": size + 2, "start_token_id": size, "end_token_id": size + 1, "pad_token_id": 0}


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer without its own truncation and padding, which this module does."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _byte_names() -> list[str]:
    """The printable stand-ins of the 256 bytes in the order of CLIP's vocabulary: printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
