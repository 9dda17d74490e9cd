from __future__ import annotations

import torch

from anygen.decoders.sampler import share_noise, starting_noise


def test_frames_share_the_part_of_the_noise_that_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = share_noise(torch.randn(8, 4, 3, 16, 16, generator=generator), 0.8, generator)
    first, last = noise[:, :, 0].flatten(), noise[:, :, 2].flatten()
    assert abs(float(first.std()) - 1) < 0.03
    assert abs(float(torch.corrcoef(torch.stack([first, last]))[0, 1]) - 0.8) < 0.03


def test_without_a_share_the_seeds_noise_is_what_it_was() -> None:
    plain, _ = starting_noise((4, 3, 8, 8), [5])
    drawn = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    assert torch.equal(plain[0], drawn)
