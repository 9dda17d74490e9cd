"""`python -m anygen.stages.replay`: what a language model says by itself, into a file of JSON lines."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from transformers import AutoTokenizer

from anygen.llm import load_backbone

from .answers import everyday_answers, write_answers

logger = logging.getLogger(__name__)


def main() -> None:
    """Answer the everyday prompts and write them."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m anygen.stages.replay", description=__doc__)
    parser.add_argument("--llm", type=Path, required=True, help="folder of the language model")
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines to write")
    options = parser.parse_args()
    llm, tokenizer = load_backbone(options.llm), AutoTokenizer.from_pretrained(options.llm)
    logger.info("%d answers in %s", write_answers(options.out, everyday_answers(llm, tokenizer)), options.out)


if __name__ == "__main__":
    main()
