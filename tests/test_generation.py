"""Generation: equal to the plain model on text, groups whole and in one pass, required media always there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

from anygen.chat_templates import TEMPLATES, ChatTemplate
from anygen.config import GenerationConfig
from anygen.errors import BadArgument, Cancelled, LimitExceeded, MissingPart, NonFinite
from anygen.generation import Answer, AnswerFinished, SignalGroup, TextDelta, generate, sample, stream
from anygen.llm import TextPiece, add_lora, build_backbone, extend_vocabulary, lora_parameters
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.projections import InputProjection, OutputProjection
from anygen.prompting import PromptBatch, PromptBuilder, SlotPart, TrainingTurn
from anygen.tokens import SignalTokens

COUNTS = {Modality.IMAGE: 4, Modality.VIDEO: 5, Modality.AUDIO: 2}
WIDTH, ENCODER = 16, 6


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(["Here is a small red star. Q: A: show me ###"] * 8, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


class System:
    """A whole tiny model with random weights, spread so widely that it says all kinds of things."""

    def __init__(self, seed: int = 0, template: ChatTemplate | str = "toybox", context: int = 256) -> None:
        torch.manual_seed(seed)
        self.tokenizer = make_tokenizer()
        self.vocab_size = len(self.tokenizer)
        self.tokens = SignalTokens.add_to(self.tokenizer, COUNTS)
        config = LlamaConfig(
            vocab_size=self.vocab_size, hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=context,
            initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        llm = build_backbone(config)
        extend_vocabulary(llm, self.tokens.new_ids)
        projections = {
            modality: OutputProjection(
                llm_dim=WIDTH, cond_dim=4, num_queries=2, inner_dim=8, num_encoder_layers=1,
                num_decoder_layers=1, num_heads=2, ffn_dim=8,
            )
            for modality in COUNTS
        }  # fmt: skip
        self.model = AnyGenModel(
            llm=llm,
            tokens=self.tokens,
            input_projection=InputProjection(encoder_dim=ENCODER, llm_dim=WIDTH, num_tokens=3),
            output_projections=projections,
        ).eval()
        self.builder = PromptBuilder(
            self.tokenizer, self.tokens, template=template, num_slot_tokens=3, context_length=context
        )

    def batch(self, *conversations: tuple[Any, ...]) -> PromptBatch:
        turns = [[TrainingTurn("user", parts)] for parts in conversations]
        return self.builder.collate([self.builder.encode(t) for t in turns], side="left")

    def generate(self, batch: PromptBatch, *, max_new_tokens: int = 24, **options: Any) -> list[Answer]:
        fields = {"do_sample", "temperature", "top_p", "max_media_parts"}
        text = {name: options.pop(name) for name in fields & options.keys()}
        settings = GenerationConfig(max_new_tokens=max_new_tokens, **text)
        return generate(self.model, self.builder, batch, options=settings, **options)

    def push(self, token: int, amount: float) -> None:
        """Make an id likely or unlikely, whatever the state, through the norm's constant direction."""
        head = self.model.llm.get_output_embeddings()
        with torch.no_grad():
            rows = head.base.weight if token < self.vocab_size else head.rows
            index = token if token < self.vocab_size else token - self.vocab_size
            rows[index] = amount * self.direction

    @property
    def direction(self) -> Tensor:
        """A direction that every state has the same positive share of, once `steady` was called."""
        return torch.nn.functional.one_hot(torch.tensor(0), WIDTH).float()

    def steady(self) -> None:
        """Give every last hidden state a large first coordinate."""
        norm = self.model.llm.get_decoder().norm
        plain = norm.forward

        def forward(states: Tensor) -> Tensor:
            normed: Tensor = plain(states)
            return torch.cat([torch.full_like(normed[..., :1], 10.0), normed[..., 1:]], dim=-1)

        norm.forward = forward


PROMPTS: list[tuple[Any, ...]] = [
    ("show me a star",),
    ("hi",),
    ("here is a small red star. show me a small star",),
]


def groups_of(answer: Answer) -> list[Modality]:
    return [part.modality for part in answer.parts if isinstance(part, SignalGroup)]


def test_text_only_equals_plain_generate() -> None:
    system = System()
    batch = system.batch(PROMPTS[0])
    banned = [0, 1, *system.tokens.new_ids]
    for seed in range(3):
        other = System(seed)
        (answer,) = other.generate(batch, outputs=[[Modality.TEXT]], max_new_tokens=20)
        plain = other.model.llm.generate(
            batch.input_ids, max_new_tokens=20, do_sample=False, suppress_tokens=banned, use_cache=True
        )
        expected = plain[0, batch.input_ids.shape[1] :].tolist()
        assert list(answer.token_ids) == [i for i in expected if i != 2]


def test_batch_equals_single_with_media_and_groups() -> None:
    system = System(3)
    conversations = [
        *PROMPTS,
        (SlotPart(Modality.IMAGE), "what is it", SlotPart(Modality.AUDIO)),
        ("star " * 9,),
    ]
    vectors = torch.nn.functional.normalize(torch.randn(2, ENCODER), dim=-1)
    outputs = [
        [Modality.IMAGE],
        None,
        [Modality.AUDIO, Modality.VIDEO],
        [Modality.IMAGE, Modality.AUDIO],
        None,
    ]
    together = system.generate(system.batch(*conversations), outputs=outputs, media_vectors=vectors)
    for row, (conversation, wanted) in enumerate(zip(conversations, outputs, strict=True)):
        media = vectors if row == 3 else None
        (alone,) = system.generate(system.batch(conversation), outputs=[wanted], media_vectors=media)
        assert alone.token_ids == together[row].token_ids
        assert alone.finish_reason == together[row].finish_reason
        assert len(alone.parts) == len(together[row].parts)
        for one, other in zip(alone.parts, together[row].parts, strict=True):
            if isinstance(one, str):
                assert one == other
            else:
                assert isinstance(other, SignalGroup) and one.modality == other.modality
                assert torch.allclose(one.signal_states, other.signal_states, atol=1e-4)
                assert torch.equal(one.signal_embeds, other.signal_embeds)


def test_group_in_one_pass_equals_the_whole_sequence_and_token_by_token() -> None:
    system = System(1)
    batch = system.batch(*PROMPTS)
    outputs = [[Modality.IMAGE], [Modality.VIDEO, Modality.AUDIO], [Modality.AUDIO]]
    answers = system.generate(batch, outputs=outputs)
    llm, embed = system.model.llm, system.model.llm.get_input_embeddings()
    for row, answer in enumerate(answers):
        prompt = batch.input_ids[row][batch.attention_mask[row].bool()]
        ids = torch.cat([prompt, torch.tensor(answer.token_ids)])[None]
        whole = system.model(ids)
        cache, steps = None, []
        for position in range(ids.shape[1]):
            step = llm.get_decoder()(
                inputs_embeds=embed(ids[:, position : position + 1]), past_key_values=cache, use_cache=True
            )
            cache = step.past_key_values
            steps.append(step.last_hidden_state[0, 0])
        spans, malformed = system.tokens.find_spans(ids[0].tolist())
        groups = [part for part in answer.parts if isinstance(part, SignalGroup)]
        assert not malformed and len(spans) == len(groups)
        seen: dict[Modality, int] = {}
        for span, group in zip(spans, groups, strict=True):
            assert span.modality == group.modality
            where = slice(span.start, span.start + span.length)
            nth = seen.get(span.modality, 0)
            seen[span.modality] = nth + 1
            assert torch.allclose(group.signal_states, whole.signal_states[span.modality][nth], atol=1e-4)
            assert torch.allclose(group.signal_states, torch.stack(steps[where]), atol=1e-4)
            assert torch.allclose(group.signal_embeds, whole.signal_embeds[span.modality][nth], atol=1e-6)


def test_required_outputs_are_in_every_one_of_200_requests() -> None:
    wanted = [
        [Modality.IMAGE], [Modality.AUDIO], [Modality.VIDEO], [Modality.AUDIO, Modality.IMAGE],
        [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO],
    ]  # fmt: skip
    for seed in range(10):
        system = System(seed)
        outputs = wanted * 4
        room = 11 + 2 * seed  # from room for nothing but the groups
        answers = system.generate(
            system.batch(*(PROMPTS * 7)[:20]), outputs=outputs, max_new_tokens=room, do_sample=True,
            temperature=1.5, seeds=list(range(20)),
        )  # fmt: skip
        for answer, needed in zip(answers, outputs, strict=True):
            assert set(groups_of(answer)) == set(needed)
            assert len(answer.token_ids) <= room
            assert not system.tokens.find_spans(answer.token_ids)[1]


def test_free_answers_hold_only_whole_groups_and_no_other_control_id() -> None:
    started = 0
    for seed in range(3):
        system = System(seed)
        answers = system.generate(
            system.batch(*PROMPTS * 3), do_sample=True, temperature=3.0, seeds=list(range(9)),
            max_media_parts=2, max_new_tokens=60,
        )  # fmt: skip
        for answer in answers:
            spans, malformed = system.tokens.find_spans(answer.token_ids)
            assert not malformed and len(spans) == len(groups_of(answer)) <= 2
            inside = {i for span in spans for i in range(span.start, span.start + span.length)}
            rest = {i for p, i in enumerate(answer.token_ids) if p not in inside}
            assert not rest & system.tokens.control_ids
            assert not any(part.forced for part in answer.parts if isinstance(part, SignalGroup))
            started += len(spans)
    assert started > 5


def test_groups_come_in_text_order_with_the_text_between() -> None:
    system = System(0)
    answers = system.generate(
        system.batch(*PROMPTS * 3), do_sample=True, temperature=3.0, seeds=list(range(9)), max_new_tokens=60
    )
    mixed = 0
    for answer in answers:
        spans, _ = system.tokens.find_spans(answer.token_ids)
        assert groups_of(answer) == [span.modality for span in spans]
        bounds = [0, *(b for s in spans for b in (s.start, s.start + s.length)), len(answer.token_ids)]
        pieces = [
            system.tokenizer.decode(answer.token_ids[a:b]).strip()
            for a, b in zip(bounds[::2], bounds[1::2], strict=True)
        ]
        texts = [part for part in answer.parts if isinstance(part, str)]
        assert texts == [piece for piece in pieces if piece]
        assert answer.text == " ".join(texts)
        mixed += len(spans) > 1 and len(texts) > 1
    assert mixed


def test_the_model_ends_and_what_is_missing_follows() -> None:
    system = System()
    system.steady()
    system.push(2, 9.0)  # eos at once, always
    (free,) = system.generate(system.batch(PROMPTS[0]))
    assert (free.parts, free.token_ids, free.finish_reason) == ((), (), "eos")
    wanted = [Modality.VIDEO, Modality.IMAGE]
    (answer,) = system.generate(system.batch(PROMPTS[0]), outputs=[wanted])
    assert groups_of(answer) == wanted
    assert all(part.forced for part in answer.parts if isinstance(part, SignalGroup))
    assert answer.finish_reason == "eos" and answer.text == ""


def test_lead_in_is_said_before_force_unless_it_was_said() -> None:
    system = System()
    system.steady()
    system.push(2, 9.0)
    leads = {Modality.IMAGE: "Here is a star.", Modality.AUDIO: "Here is"}
    outputs = [[Modality.IMAGE, Modality.AUDIO]]
    (answer,) = system.generate(system.batch(PROMPTS[0]), outputs=outputs, lead_ins=leads, max_new_tokens=60)
    assert [part if isinstance(part, str) else part.modality for part in answer.parts] == [
        "Here is a star.", Modality.IMAGE, "Here is", Modality.AUDIO,
    ]  # fmt: skip
    (tight,) = system.generate(system.batch(PROMPTS[0]), outputs=outputs, lead_ins=leads, max_new_tokens=7)
    assert groups_of(tight) == outputs[0] and len(tight.token_ids) <= 7


def test_the_model_starts_a_group_by_itself_and_only_one_that_was_asked_for() -> None:
    system = System()
    system.steady()
    system.push(system.tokens.groups[Modality.AUDIO][0], 9.0)
    system.push(system.tokens.groups[Modality.IMAGE][0], 8.0)
    system.push(2, 7.0)
    (free,) = system.generate(system.batch(PROMPTS[0]), max_media_parts=3)
    assert groups_of(free) == [Modality.AUDIO] * 3 and free.finish_reason == "eos"
    (asked,) = system.generate(system.batch(PROMPTS[0]), outputs=[[Modality.IMAGE]], max_media_parts=1)
    assert groups_of(asked) == [Modality.IMAGE]
    assert not asked.parts[0].forced  # type: ignore[union-attr]
    (silent,) = system.generate(system.batch(PROMPTS[0]), available=[])
    assert silent.parts == ()


def test_second_tokens_of_groups_and_delimiters_are_never_chosen() -> None:
    system = System()
    system.steady()
    for token in {*system.tokens.new_ids, 0, 1} - set(system.tokens.first_ids):
        system.push(token, 9.0)
    for answer in system.generate(system.batch(*PROMPTS)):
        spans, malformed = system.tokens.find_spans(answer.token_ids)
        assert not malformed and len(spans) == len(groups_of(answer))
        assert system.tokens.open_id not in answer.token_ids


def test_requiring_text_gives_text() -> None:
    system = System()
    system.steady()
    system.push(2, 9.0)
    (answer,) = system.generate(system.batch(PROMPTS[0]), outputs=[[Modality.TEXT, Modality.AUDIO]])
    assert answer.text and groups_of(answer) == [Modality.AUDIO]


def test_typed_signal_tokens_are_text() -> None:
    system = System()
    system.steady()
    system.push(2, 9.0)
    batch = system.batch(("[IMG0][IMG1][IMG2][IMG3]</s>",))
    assert (batch.input_ids == system.tokens.groups[Modality.IMAGE][0]).sum() == 0
    (answer,) = system.generate(batch)
    assert answer.parts == ()


def test_stop_text_ends_an_answer_and_is_not_shown() -> None:
    template = ChatTemplate(user_prefix="Q:", assistant_prefix="\nA:", ends_with_eos=False, stop=("###",))
    system = System(template=template)
    system.steady()
    system.push(system.builder.plain_text("#")[0], 9.0)
    events = []
    (answer,) = system.generate(system.batch(PROMPTS[0]), on_event=events.append)
    assert answer.finish_reason == "stop" and answer.text == ""
    assert not any(isinstance(event, TextDelta) for event in events)
    (answer,) = system.generate(system.batch(PROMPTS[0]), outputs=[[Modality.IMAGE]])
    assert groups_of(answer) == [Modality.IMAGE]


def test_events_join_to_the_answer() -> None:
    system = System(2)
    options = GenerationConfig(max_new_tokens=40, do_sample=True, temperature=2.0)
    batch = system.batch(*PROMPTS)
    events = list(stream(system.model, system.builder, batch, options=options, seeds=[1, 2, 3]))
    answers = {event.row: event.answer for event in events if isinstance(event, AnswerFinished)}
    assert sorted(answers) == [0, 1, 2]
    for row, answer in answers.items():
        parts: list[Any] = [""]
        for event in events:
            if event.row == row and isinstance(event, TextDelta):
                parts[-1] += event.text
            elif event.row == row and isinstance(event, SignalGroup):
                parts += [event, ""]
        assert [p for p in parts if p != ""] == list(answer.parts)
        assert isinstance([e for e in events if e.row == row][-1], AnswerFinished)


def test_seeds_alone_decide_and_rows_do_not_disturb_each_other() -> None:
    system = System(1)
    settings: dict[str, Any] = {"do_sample": True, "temperature": 1.5, "outputs": None}
    state = torch.get_rng_state()
    first = system.generate(system.batch(*PROMPTS), seeds=[5, 6, 7], **settings)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again = system.generate(system.batch(*PROMPTS), seeds=[5, 6, 7], **settings)
    alone = system.generate(system.batch(PROMPTS[1]), seeds=[6], **settings)
    other = system.generate(system.batch(*PROMPTS), seeds=[8, 9, 10], **settings)
    assert [a.token_ids for a in first] == [a.token_ids for a in again]
    assert alone[0].token_ids == first[1].token_ids
    assert [a.token_ids for a in first] != [a.token_ids for a in other]
    unseeded = [
        system.generate(system.batch(PROMPTS[0]), **settings, available=[])[0].token_ids for _ in range(4)
    ]
    assert len(set(unseeded)) > 1


def test_adapter_takes_part() -> None:
    system = System()
    (before,) = system.generate(system.batch(PROMPTS[0]))
    add_lora(system.model.llm, rank=2)
    assert system.generate(system.batch(PROMPTS[0]))[0].token_ids == before.token_ids
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in lora_parameters(system.model.llm).values():
            parameter += torch.randn_like(parameter)
    assert system.generate(system.batch(PROMPTS[0]))[0].token_ids != before.token_ids


def test_cancel_between_steps() -> None:
    system = System()
    calls = []
    with pytest.raises(Cancelled, match="was cancelled before it was complete"):
        system.generate(
            system.batch(PROMPTS[0]), should_stop=lambda: len(calls) == 3 or bool(calls.append(1))
        )
    assert len(calls) == 3


def test_not_finite_logits_are_an_error() -> None:
    system = System()
    with torch.no_grad():
        system.model.llm.get_output_embeddings().rows[0] = float("nan")
    with pytest.raises(NonFinite, match="the language model gave NaN or infinity"):
        system.generate(system.batch(PROMPTS[0]))


def test_group_that_cannot_fit_is_an_error() -> None:
    system = System()
    with pytest.raises(LimitExceeded, match="room for 8 tokens, expected at least 9"):
        system.generate(
            system.batch(PROMPTS[0]), outputs=[[Modality.IMAGE, Modality.VIDEO]], max_new_tokens=8
        )
    system.steady()
    system.push(system.tokens.groups[Modality.IMAGE][0], 9.0)
    with pytest.raises(
        LimitExceeded, match="starts an image of 4 tokens with room for 2; raise max_new_tokens"
    ):
        system.generate(system.batch(PROMPTS[0]), max_new_tokens=6)
    full = System(context=40)
    batch = full.batch(("?!" * 13,))
    assert 29 < batch.input_ids.shape[1] < 40
    with pytest.raises(LimitExceeded, match="expected at least 11"):
        full.generate(batch, outputs=[list(COUNTS)])


def test_refusals() -> None:
    system = System()
    batch = system.batch(PROMPTS[0])
    with pytest.raises(MissingPart, match="cannot make audio, only image"):
        system.generate(batch, outputs=[[Modality.AUDIO]], available=[Modality.IMAGE])
    with pytest.raises(MissingPart, match="cannot make depth"):
        system.generate(batch, outputs=[[Modality.DEPTH]])
    with pytest.raises(BadArgument, match="outputs is empty"):
        system.generate(batch, outputs=[[]])
    with pytest.raises(BadArgument, match="found 2 outputs for 1 prompts"):
        system.generate(batch, outputs=[None, None])
    with pytest.raises(BadArgument, match="found 0 seeds for 1 prompts"):
        system.generate(batch, seeds=[])
    with pytest.raises(LimitExceeded, match="found 2 outputs, the limit is 1 media"):
        system.generate(batch, outputs=[[Modality.IMAGE, Modality.AUDIO]], max_media_parts=1)
    with pytest.raises(BadArgument, match="temperature is 0"):
        system.generate(batch, temperature=0.0)
    with pytest.raises(BadArgument, match="top_p is 1.5"):
        system.generate(batch, top_p=1.5)
    right = system.builder.collate(
        [system.builder.encode([TrainingTurn("user", parts)]) for parts in PROMPTS], side="right"
    )
    with pytest.raises(BadArgument, match="padded on the right, expected on the left"):
        system.generate(right)
    system.model.train()
    with pytest.raises(BadArgument, match="training mode, expected evaluation"):
        system.generate(batch)


def test_sampling_follows_the_distribution() -> None:
    scores = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([sample(scores, generator) for _ in range(4000)]), minlength=4)
    assert torch.allclose(counts / 4000, torch.tensor([0.5, 0.25, 0.15, 0.1]), atol=0.03)
    nucleus = {sample(scores, generator, top_p=0.7) for _ in range(200)}
    assert nucleus == {0, 1}
    assert {sample(scores, generator, top_p=0.01) for _ in range(50)} == {0}
    assert {sample(scores, generator, temperature=0.01) for _ in range(50)} == {0}
    masked = scores.masked_fill(torch.tensor([True, False, True, True]), float("-inf"))
    assert {sample(masked, generator) for _ in range(50)} == {1}


def test_text_is_shown_as_far_as_it_is_certain() -> None:
    tokenizer = make_tokenizer()
    text = " a \u2605 \u00e9  b"
    piece, shown = TextPiece(tokenizer), ""
    for i in tokenizer(text, add_special_tokens=False).input_ids:
        delta = piece.add([i])
        assert "\ufffd" not in delta
        shown += delta
        assert shown == shown.rstrip()
    shown += piece.end()
    assert shown == piece.shown == text.strip()
    stopping = TextPiece(tokenizer, ["##!", "##?"])
    shown = "".join(stopping.add([i]) for i in tokenizer("a ##b ##? c", add_special_tokens=False).input_ids)
    assert stopping.stopped and shown + stopping.end() == "a ##b"
    cut = TextPiece(tokenizer, ["##!"])
    assert cut.add(tokenizer("a ##", add_special_tokens=False).input_ids) + cut.end() == "a ##"


def test_templates_stop_texts_are_the_builders() -> None:
    assert TEMPLATES["vicuna_v0"].stop == ("###",)
