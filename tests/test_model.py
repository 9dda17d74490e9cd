"""The model: equal to the plain language model on text, states at the signals' own places, exact freezing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from anygen.errors import BadArgument, MissingPart
from anygen.llm import add_lora, build_backbone, extend_vocabulary
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.projections import InputProjection, OutputProjection
from anygen.tokens import SignalTokens

VOCAB, WIDTH, ENCODER = 40, 8, 6
TOKENS = SignalTokens(
    groups={Modality.IMAGE: (42, 43, 44), Modality.AUDIO: (45, 46)}, open_id=40, close_id=41,
    special_ids=frozenset({0, 1, 2}),
)  # fmt: skip


class TinyEncoder(nn.Module):
    """Any object with encode serves as encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, ENCODER)

    def encode(self, modality: Modality, inputs: torch.Tensor) -> torch.Tensor:
        shift = 1.0 if modality == Modality.AUDIO else 0.0
        return nn.functional.normalize(self.linear(inputs) + shift, dim=-1)


def output_projection(cond_dim: int = 5) -> OutputProjection:
    return OutputProjection(
        llm_dim=WIDTH, cond_dim=cond_dim, num_queries=3, inner_dim=8, num_encoder_layers=1,
        num_decoder_layers=1, num_heads=2, ffn_dim=16,
    )  # fmt: skip


def make_llm() -> Any:
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    return build_backbone(config).eval()


def make_model(*, lora: bool = False, encoder: Any = None) -> AnyGenModel:
    torch.manual_seed(0)
    llm = make_llm()
    extend_vocabulary(llm, TOKENS.new_ids)
    if lora:
        add_lora(llm, rank=2)
    return AnyGenModel(
        llm=llm,
        tokens=TOKENS,
        input_projection=InputProjection(encoder_dim=ENCODER, llm_dim=WIDTH, num_tokens=2),
        output_projections={Modality.IMAGE: output_projection(), Modality.AUDIO: output_projection(4)},
        encoder=encoder,
    ).eval()


def text(*shape: int) -> torch.Tensor:
    return torch.randint(3, VOCAB, shape)


def test_text_only_equals_the_plain_language_model() -> None:
    model = make_model()
    torch.manual_seed(0)
    plain = make_llm()
    ids = text(2, 9)
    output = model(ids, return_logits=True)
    assert torch.equal(output.logits[..., :VOCAB], plain(ids).logits)
    expected = plain.model(ids).last_hidden_state
    assert torch.equal(output.hidden_states, expected)
    assert output.signal_states == {} and output.loss is None


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    model = make_model()
    vectors = torch.nn.functional.normalize(torch.randn(1, ENCODER), dim=-1)
    ids = torch.cat(
        [text(1, 3), torch.tensor([[40, 40, 40, 41]]), text(1, 2), torch.tensor([[42, 43, 44, 2]])], 1
    )
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[0, 4:6] = True
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < 7, -100)
    alone = model(ids, slot_mask=slots, media_vectors=vectors, labels=labels)
    pad = (4, 0) if side == "left" else (0, 4)
    where = slice(4, None) if side == "left" else slice(0, -4)

    def padded(tensor: torch.Tensor, value: int, other: torch.Tensor) -> torch.Tensor:
        return torch.cat([nn.functional.pad(tensor, pad, value=value), other])

    other = text(1, ids.shape[1] + 4)
    both = model(
        padded(ids, 0, other),
        padded(torch.ones_like(ids), 0, torch.ones_like(other)),
        slot_mask=padded(slots, False, torch.zeros_like(other, dtype=torch.bool)),
        media_vectors=vectors,
        labels=padded(labels, -100, torch.full_like(other, -100)),
    )
    assert torch.allclose(both.hidden_states[:1, where], alone.hidden_states, atol=1e-5)
    assert torch.allclose(both.loss, alone.loss, atol=1e-5)
    assert torch.allclose(both.signal_states[Modality.IMAGE], alone.signal_states[Modality.IMAGE], atol=1e-5)


def test_signal_states_are_at_the_signals_own_positions() -> None:
    model = make_model()
    ids = text(2, 12)
    ids[0, 2:5] = torch.tensor(TOKENS.groups[Modality.IMAGE])
    ids[0, 7:10] = torch.tensor(TOKENS.groups[Modality.IMAGE])
    ids[1, 9:12] = torch.tensor(TOKENS.groups[Modality.IMAGE])
    ids[1, 4:6] = torch.tensor(TOKENS.groups[Modality.AUDIO])
    output = model(ids)
    hidden = output.hidden_states
    expected = torch.stack([hidden[0, 2:5], hidden[0, 7:10], hidden[1, 9:12]])
    assert torch.equal(output.signal_states[Modality.IMAGE], expected)
    assert torch.equal(output.signal_states[Modality.AUDIO], hidden[1:, 4:6])
    embeds = model.llm.get_input_embeddings()(torch.tensor(TOKENS.groups[Modality.IMAGE]))
    assert torch.equal(output.signal_embeds[Modality.IMAGE], embeds.expand(3, -1, -1))
    cond = model.project(
        Modality.IMAGE, output.signal_states[Modality.IMAGE], output.signal_embeds[Modality.IMAGE]
    )
    assert cond.shape == (3, 3, 5)


def test_loss_is_cross_entropy_of_the_next_token() -> None:
    model = make_model()
    ids = text(2, 8)
    labels = ids.clone()
    labels[0, :4] = -100
    output = model(ids, labels=labels, return_logits=True)
    expected = nn.functional.cross_entropy(
        output.logits[:, :-1].reshape(-1, output.logits.shape[-1]),
        labels[:, 1:].reshape(-1),
        ignore_index=-100,
    )
    assert torch.allclose(output.loss, expected, atol=1e-6)
    assert torch.allclose(output.token_losses.mean(), output.loss)
    assert output.token_labels.tolist() == labels[:, 1:][labels[:, 1:] != -100].tolist()
    nothing = model(ids, labels=torch.full_like(ids, -100)).loss
    assert nothing.item() == 0 and nothing.requires_grad


def test_excluded_tokens_do_not_compete_unless_they_are_the_target() -> None:
    model = make_model()
    ids = text(1, 6)
    vocabulary = model(ids, return_logits=True).logits.shape[-1]
    others = torch.ones(1, vocabulary, dtype=torch.bool)
    assert model(ids, labels=ids, excluded=others).loss.item() == pytest.approx(0.0, abs=1e-6)
    none = torch.zeros(1, vocabulary, dtype=torch.bool)
    assert torch.equal(model(ids, labels=ids, excluded=none).loss, model(ids, labels=ids).loss)


ROWS = {"llm.model.embed_tokens.rows", "llm.lm_head.rows"}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["input_projection"], {"input_projection.linear.weight", "input_projection.linear.bias"}),
        (["signal_rows"], ROWS),
        ([], set()),
    ],
)
def test_trainable_sets_are_exact(parts: list[Any], expected: set[str]) -> None:
    model = make_model(lora=True, encoder=TinyEncoder())
    assert set(model.set_trainable(parts)) == expected


def test_trainable_parts_cover_the_model_without_overlap() -> None:
    model = make_model(lora=True, encoder=TinyEncoder())
    parts = ["input_projection", "output_projections", "signal_rows", "lora", "llm", "encoder"]
    sets = [set(model.set_trainable([part])) for part in parts]  # type: ignore[list-item]
    everything = {name for name, _ in model.named_parameters()}
    assert set().union(*sets) == everything
    assert sum(len(names) for names in sets) == len(everything)
    assert all(".lora_" in name for name in sets[3]) and len(sets[3]) == 16
    assert "llm.model.embed_tokens.base.weight" in sets[4]


def test_only_new_rows_move_in_a_step() -> None:
    model = make_model(lora=True)
    names = set(model.set_trainable(["signal_rows"]))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = text(1, 8)
    ids[0, 3:6] = torch.tensor(TOKENS.groups[Modality.IMAGE])
    model(ids, labels=ids).loss.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5).step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == names == ROWS


def test_gradients_reach_the_input_projection_through_the_slots() -> None:
    model = make_model()
    model.set_trainable(["input_projection"])
    ids = text(1, 6)
    slots = torch.tensor([[False, True, True, False, False, False]])
    model(ids, slot_mask=slots, media_vectors=torch.randn(1, ENCODER), labels=ids).loss.backward()
    assert model.input_projection.linear.weight.grad.abs().sum() > 0


def test_media_are_encoded_by_modality_and_come_back_in_order() -> None:
    encoder = TinyEncoder()
    model = make_model(encoder=encoder)
    image, audio = torch.randn(2, 3), torch.randn(1, 3)
    kinds = [Modality.IMAGE, Modality.AUDIO, Modality.IMAGE]
    vectors = model.encode_media(kinds, {Modality.IMAGE: image, Modality.AUDIO: audio})
    assert torch.allclose(vectors[[0, 2]], encoder.encode(Modality.IMAGE, image))
    assert torch.allclose(vectors[1:2], encoder.encode(Modality.AUDIO, audio))
    with pytest.raises(BadArgument, match="found 1 image inputs, expected 2"):
        model.encode_media(kinds, {Modality.IMAGE: image[:1]})
    with pytest.raises(BadArgument, match="found no inputs for audio"):
        model.encode_media(kinds, {Modality.IMAGE: image})
    with pytest.raises(MissingPart, match="the model has no encoder"):
        make_model().encode_media(kinds, {})


@pytest.mark.parametrize("broken", [[42, 43, 5], [42, 44, 43], [5, 6, 43], [42, 42, 43]])
def test_broken_groups_are_refused(broken: list[int]) -> None:
    ids = text(1, 8)
    ids[0, 2:5] = torch.tensor(broken)
    with pytest.raises(BadArgument, match="broken image signal group"):
        make_model()(ids)


def test_cut_groups_are_refused() -> None:
    ids = text(1, 4)
    ids[0, 2:] = torch.tensor([42, 43])
    with pytest.raises(BadArgument, match="cut image signal group"):
        make_model()(ids)


def test_refusals() -> None:
    model = make_model()
    with pytest.raises(BadArgument, match="found 0 media"):
        model(text(1, 4), slot_mask=torch.tensor([[True, True, False, False]]))
    with pytest.raises(BadArgument, match="found trainable part 'lora', expected some of input_projection"):
        model.set_trainable(["lora"])
    with pytest.raises(MissingPart, match="no output projection for video, only for image, audio"):
        model.project(Modality.VIDEO, torch.zeros(1, 2, 8), torch.zeros(1, 2, 8))
    parts: dict[str, Any] = {
        "llm": model.llm,
        "tokens": TOKENS,
        "input_projection": model.input_projection,
        "output_projections": {Modality.IMAGE: output_projection()},
    }
    other = SignalTokens(groups={Modality.IMAGE: (42, 43)}, open_id=40, close_id=41)
    with pytest.raises(BadArgument, match="found 7 new rows from id 40, expected 4 from 40"):
        AnyGenModel(**{**parts, "tokens": other})
    with pytest.raises(BadArgument, match="input_projection has llm_dim 9, expected 8"):
        AnyGenModel(**{**parts, "input_projection": InputProjection(encoder_dim=6, llm_dim=9)})
    with pytest.raises(BadArgument, match="output projection for video, which has no signal tokens"):
        AnyGenModel(**{**parts, "output_projections": {Modality.VIDEO: output_projection()}})


def test_a_shared_prefix_is_computed_once_and_changes_nothing() -> None:
    model = make_model(lora=True)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    model.set_trainable(["lora", "signal_rows", "input_projection"])
    first = text(1, 5).expand(3, -1)
    media = torch.tensor([[40, 40, 40, 41]]).expand(3, -1)
    ids = torch.cat([first, media, text(3, 3), torch.tensor([[42, 43, 44, 2]] * 3)], 1)
    ids[2, 3] = (ids[0, 3] - 2) % 37 + 3  # one row goes another way at its fourth token
    mask = torch.ones_like(ids)
    mask[1, -4:] = 0
    ids[1, -4:] = 0
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 6:8] = True
    labels = ids.masked_fill((torch.arange(ids.shape[1]) < 9) | (mask == 0), -100)
    vectors = torch.randn(3, ENCODER)
    seen: list[int] = []
    model.llm.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    found = []
    for shared in (False, True):
        model.zero_grad()
        output = model(ids, mask, slot_mask=slots, media_vectors=vectors, labels=labels, share_prefix=shared)
        output.loss.backward()
        slopes = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((output, slopes))
    (plain, slopes), (once, once_slopes) = found
    assert seen == [ids.numel(), 3, 3 * (ids.shape[1] - 3)]
    assert torch.allclose(once.hidden_states[mask == 1], plain.hidden_states[mask == 1], atol=1e-5)
    assert torch.allclose(once.token_losses, plain.token_losses, atol=1e-5)
    assert slopes.keys() == once_slopes.keys() and slopes
    assert all(torch.allclose(once_slopes[n], slope, atol=1e-5) for n, slope in slopes.items())
    # one row has nothing to share, and neither have rows that begin with media
    seen.clear()
    model(ids[:1], share_prefix=True)
    model(media, slot_mask=slots[:, 5:9], media_vectors=vectors, share_prefix=True)
    assert seen == [ids.shape[1], 1, 3 * 3]
