"""Distances of projected signals, on them and between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from anygen.modality import Modality
from anygen.prompting import SlotPart, TrainingTurn
from anygen.stages.dialogue_data import FILLERS, filled, shouted
from anygen.stages.signals import Signals


class Projecting:
    """As much of a model as a distance asks for."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def project(self, modality: Modality, states: Tensor, embeds: Tensor) -> Tensor:
        return self.function(states, embeds)


def signals(count: int = 64) -> tuple[Signals, nn.Linear]:
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    states, embeds = torch.randn(count, 3, 6), torch.randn(count, 3, 6)
    with torch.no_grad():
        return Signals(states, embeds, layer(states + embeds)), layer


def test_a_straight_projection_that_is_right_is_right_between_too_and_a_bent_one_is_not() -> None:
    given, layer = signals()
    straight = Projecting(lambda states, embeds: layer(states + embeds))
    assert given.distances(straight, Modality.IMAGE).max() < 1e-10
    assert given.between().distances(straight, Modality.IMAGE).max() < 1e-10

    def by_heart(states: Tensor, embeds: Tensor) -> Tensor:  # the nearest that it was shown
        keys, asked = (given.states + given.embeds).flatten(1), (states + embeds).flatten(1)
        return given.wanted[torch.cdist(asked, keys).argmin(1)]

    assert given.distances(Projecting(by_heart), Modality.IMAGE).max() < 1e-10
    assert given.between().distances(Projecting(by_heart), Modality.IMAGE).mean() > 0.1


def test_distances_are_relative_to_the_spread_of_what_is_wanted() -> None:
    given, _ = signals()
    nothing = Projecting(lambda states, embeds: torch.zeros(len(states), 3, 5) + given.wanted.mean())
    assert abs(float(given.distances(nothing, Modality.IMAGE).mean()) - 1) < 0.02


def test_only_the_user_shouts() -> None:
    slot = SlotPart(Modality.IMAGE, None)
    turns = [
        TrainingTurn("user", ("Draw a red star", slot)),
        TrainingTurn("assistant", ("Here is an image.",)),
    ]
    user, answer = shouted(turns)
    assert user.parts == ("DRAW A RED STAR", slot) and answer == turns[1]


def test_idle_words_come_among_the_first_and_take_no_word_away() -> None:
    turns = [TrainingTurn("user", ("draw a small red star",)), TrainingTurn("assistant", ("Here it is.",))]
    for seed in range(20):
        user, answer = filled(turns, np.random.default_rng(seed))
        (text,) = user.parts
        kept = [word for word in str(text).split() if word not in FILLERS]
        assert kept == ["draw", "a", "small", "red", "star"] and 1 <= len(str(text).split()) - 5 <= 3
        assert str(text).endswith("small red star") and answer == turns[1]
