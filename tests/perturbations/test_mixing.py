"""Mixup and CutMix: labels, areas, distributions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raybench.perturbations.mixing import UNMIXED, Mix, MixSettings, draw_cut, mix_pairs
from raybench.perturbations.views import Box

SIDE = 16


def draws(num, **settings):
    chosen = MixSettings(side=SIDE, **settings)
    return [chosen.draw(np.random.default_rng(seed)) for seed in range(num)]


def batch(num):
    pixels = torch.rand(num, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return pixels, torch.arange(num) % 4


def test_mixup_by_hand():
    pixels, targets = batch(2)
    mixed, labels = mix_pairs(pixels, targets, [Mix(share=0.75, box=None)], 4)
    torch.testing.assert_close(mixed[0], 0.75 * pixels[0] + 0.25 * pixels[1])
    torch.testing.assert_close(mixed[1], 0.75 * pixels[1] + 0.25 * pixels[0])
    assert labels.tolist() == [[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0]]


def test_cutmix_by_hand():
    pixels, targets = batch(2)
    mix = Mix(share=1 - 6 / SIDE**2, box=Box(1, 2, 2, 3))
    mixed, labels = mix_pairs(pixels, targets, [mix], 4)
    is_partners = (mixed[0] == pixels[1]).all(dim=0)
    assert is_partners.nonzero().tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4)]
    assert torch.equal(mixed[0][:, ~is_partners], pixels[0][:, ~is_partners])
    assert float(labels[0, 1]) == pytest.approx(6 / 256)


def test_an_image_without_a_partner_stays():
    pixels, targets = batch(3)
    mixed, labels = mix_pairs(pixels, targets, [Mix(share=0.5, box=None)], 4)
    assert torch.equal(mixed[2], pixels[2])
    assert labels[2].tolist() == [0, 0, 1, 0]


@given(
    num=st.integers(2, 9),
    seed=st.integers(0, 2**32 - 1),
    mixup=st.just(0.0) | st.floats(0.05, 3),
    cutmix=st.just(0.0) | st.floats(0.05, 3),
)
def test_label_shares_sum_to_one_and_pixels_stay_in_the_unit_range(num, seed, mixup, cutmix):
    settings = MixSettings(side=SIDE, mixup=mixup, cutmix=cutmix)
    pixels, targets = batch(num)
    mixes = [settings.draw(np.random.default_rng((seed, pair))) for pair in range(num // 2)]
    mixed, labels = mix_pairs(pixels, targets, mixes, 4)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(num))
    assert float(labels.min()) >= 0
    assert float(mixed.min()) >= 0
    assert float(mixed.max()) <= 1


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_a_cut_lies_in_the_image_and_is_at_most_as_large_as_drawn(seed, share):
    box = draw_cut(np.random.default_rng(seed), SIDE, share)
    assert 0 <= box.top <= box.top + box.height <= SIDE
    assert 0 <= box.left <= box.left + box.width <= SIDE
    assert box.height * box.width <= (1 - share) * SIDE**2 + 1e-9


def test_a_cuts_share_is_counted_in_pixels():
    for mix in draws(200, cutmix=1.0):
        assert mix.box is not None
        assert mix.share == 1 - mix.box.height * mix.box.width / SIDE**2


def test_probabilities_of_mixing_and_of_cutmix():
    drawn = draws(2000, mixup=0.8, cutmix=1.0, cutmix_share=0.3, probability=0.6)
    mixed = [mix for mix in drawn if mix != UNMIXED]
    assert 1100 < len(mixed) < 1300  # 1200, deviation 22.
    assert 280 < sum(mix.box is not None for mix in mixed) < 440  # 360, deviation 16.


@pytest.mark.parametrize("alpha", [0.2, 0.8, 2.0])
def test_mixups_share_has_the_moments_of_a_beta_distribution(alpha):
    shares = np.array([mix.share for mix in draws(4000, mixup=alpha)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_one_of_both_is_used_alone_and_none_mixes_nothing():
    assert all(mix.box is None for mix in draws(50, mixup=1.0, cutmix_share=1.0))
    assert all(mix.box is not None for mix in draws(50, cutmix=1.0, cutmix_share=0.0))
    assert set(draws(50)) == set(draws(50, mixup=1.0, probability=0.0)) == {UNMIXED}
    assert not MixSettings(side=SIDE).is_on
