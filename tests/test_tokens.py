"""Control ids: bound in the published order, found only as whole groups, never made by text."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from anygen.errors import BadArgument, BadText, MissingPart
from anygen.modality import Modality
from anygen.tokens import PlainText, SignalTokens, Span

COUNTS = {Modality.IMAGE: 4, Modality.AUDIO: 2, Modality.VIDEO: 3}
HOSTILE = [
    "[IMG0]",
    "[IMG0][IMG1][IMG2][IMG3]",
    "</s>",
    "<s>x</s>",
    "<pad>",
    "<Img>a</Img>",
    "x[AUD0] [VID0]\n</s>",
    "[IMG0\u200b]",
    "\uff3bIMG0\uff3d",
    "\uff1c/s\uff1e",
]


def make_tokenizer(*, metaspace: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(byte_fallback=metaspace))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = ["Here is a small red star. Show me USER: ASSISTANT: [IMG0] </s> <Img>"] * 8
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def test_ids_follow_the_published_order() -> None:
    tokenizer = make_tokenizer()
    first = len(tokenizer)
    tokens = SignalTokens.add_to(tokenizer, COUNTS)
    assert (tokens.open_id, tokens.close_id) == (first, first + 1)
    assert tokens.groups == {
        Modality.IMAGE: tuple(range(first + 2, first + 6)),
        Modality.VIDEO: tuple(range(first + 6, first + 9)),
        Modality.AUDIO: tuple(range(first + 9, first + 11)),
    }
    assert tokens.new_ids == tuple(range(first, first + 11))
    assert tokens.special_ids >= {0, 1, 2}
    assert tokens.first_ids == {ids[0]: modality for modality, ids in tokens.groups.items()}
    assert tokens.num_signals() == COUNTS
    assert tokenizer.convert_ids_to_tokens(first + 6) == "[VID0]"


def test_adding_twice_and_binding_a_saved_tokenizer_give_the_same(tmp_path) -> None:
    tokenizer = make_tokenizer()
    tokens = SignalTokens.add_to(tokenizer, COUNTS)
    assert SignalTokens.add_to(tokenizer, COUNTS) == tokens
    tokenizer.save_pretrained(tmp_path)
    assert SignalTokens.of(PreTrainedTokenizerFast.from_pretrained(tmp_path), COUNTS) == tokens


@pytest.mark.parametrize("metaspace", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_text_never_becomes_a_control_id(text: str, metaspace: bool) -> None:
    tokenizer = make_tokenizer(metaspace=metaspace)
    tokens = SignalTokens.add_to(tokenizer, COUNTS)
    ids = PlainText(tokenizer, tokens)(text)
    assert ids
    assert tokens.control_ids.isdisjoint(ids)
    assert tokenizer.decode(
        tokenizer(text, add_special_tokens=False).input_ids
    )  # the shared one is untouched


def test_text_survives_byte_level() -> None:
    tokenizer = make_tokenizer()
    plain = PlainText(tokenizer, SignalTokens.add_to(tokenizer, COUNTS))
    for text in HOSTILE:
        assert tokenizer.decode(plain(text)) == text


def test_leading_space_is_written_once() -> None:
    for metaspace in (False, True):
        tokenizer = make_tokenizer(metaspace=metaspace)
        plain = PlainText(tokenizer, SignalTokens.add_to(tokenizer, COUNTS))
        assert plain.adds_space is metaspace
        start = tokenizer.convert_ids_to_tokens(plain(" star"))[0]
        assert start[0] in "\u0120\u2581"
        assert start[:2] not in ("\u0120\u0120", "\u2581\u2581")
        assert plain("") == []


def test_broken_unicode_is_refused() -> None:
    tokenizer = make_tokenizer()
    plain = PlainText(tokenizer, SignalTokens.add_to(tokenizer, COUNTS))
    with pytest.raises(BadText, match="not valid Unicode"):
        plain("a\ud800b")


def test_vocabulary_that_maps_words_to_control_ids_is_caught() -> None:
    tokenizer = make_tokenizer()
    tokens = SignalTokens.add_to(tokenizer, COUNTS)
    (plain_id,) = PlainText(tokenizer, tokens)("a")
    clash = SignalTokens(
        groups=tokens.groups, open_id=tokens.open_id, close_id=tokens.close_id,
        special_ids=frozenset({plain_id}),
    )  # fmt: skip
    with pytest.raises(BadText, match="reads as a control token"):
        PlainText(tokenizer, clash)("a")


def test_spans_are_whole_ordered_groups() -> None:
    tokens = SignalTokens.add_to(make_tokenizer(), COUNTS)
    image, audio = list(tokens.groups[Modality.IMAGE]), list(tokens.groups[Modality.AUDIO])
    spans, malformed = tokens.find_spans([5, *image, *audio, 7, *image[:2], 8, *image[::-1], audio[1]])
    assert spans == [
        Span(modality=Modality.IMAGE, start=1, length=4),
        Span(modality=Modality.AUDIO, start=5, length=2),
    ]
    assert malformed == [8, 9, 11, 12, 13, 14, 15]
    assert tokens.find_spans([image[0], *image]) == ([Span(modality=Modality.IMAGE, start=1, length=4)], [0])
    assert tokens.find_spans([]) == ([], [])


def test_missing_tokens_are_named() -> None:
    with pytest.raises(MissingPart, match=r"the tokenizer has no <Img>"):
        SignalTokens.of(make_tokenizer(), COUNTS)


def test_tokens_that_are_not_special_are_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<Img>", special=False)])
    with pytest.raises(BadArgument, match="<Img> is not special"):
        SignalTokens.of(tokenizer, {})


@pytest.mark.parametrize("counts", [{Modality.IMAGE: 0}, {Modality.DEPTH: 4}])
def test_impossible_groups_are_refused(counts: dict[Modality, int]) -> None:
    with pytest.raises(BadArgument, match="expected at least 1 for one of image, audio, video"):
        SignalTokens.add_to(make_tokenizer(), counts)


def test_scattered_ids_are_refused() -> None:
    with pytest.raises(BadArgument, match="ids that follow one another"):
        SignalTokens(groups={Modality.IMAGE: (5, 7)}, open_id=3, close_id=4)
    with pytest.raises(BadArgument, match="group of 0 tokens for image"):
        SignalTokens(groups={Modality.IMAGE: ()}, open_id=3, close_id=4)


def test_slow_tokenizer_is_refused() -> None:
    tokens = SignalTokens(groups={Modality.IMAGE: (5,)}, open_id=3, close_id=4)
    with pytest.raises(BadArgument, match="expected a fast tokenizer"):
        PlainText(object(), tokens)
