import pytest
import torch

from raybench.perturbations.augmentations import Augmentation, augmented


def pixels():
    return torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))


def draw(augmentation, seed=0):
    torch.manual_seed(seed)
    return augmented(pixels(), augmentation.build())


def test_output_has_the_stated_size_and_stays_in_the_unit_range():
    output = draw(Augmentation(output_size=16, min_crop=0.3, flip=True, color_jitter=0.8))
    assert output.shape == (4, 3, 16, 16)
    assert 0.0 <= float(output.min()) <= float(output.max()) <= 1.0


def test_the_same_seed_draws_the_same_images_and_another_seed_others():
    augmentation = Augmentation(output_size=16, color_jitter=0.4)
    assert torch.equal(draw(augmentation, 1), draw(augmentation, 1))
    assert not torch.equal(draw(augmentation, 1), draw(augmentation, 2))


def test_images_are_mirrored_only_with_flip():
    # A ramp from left to right keeps its direction under any crop.
    ramp = torch.linspace(0, 1, 20).expand(64, 3, 20, 20)
    torch.manual_seed(0)
    plain = augmented(ramp, Augmentation(output_size=16).build())
    assert bool((plain[..., -1] > plain[..., 0]).all())
    mirrored = augmented(ramp, Augmentation(output_size=16, flip=True).build())
    share = float((mirrored[..., -1] < mirrored[..., 0]).float().mean())
    assert 0.2 < share < 0.8


def test_the_input_is_not_modified():
    images = pixels()
    augmented(images, Augmentation(output_size=16, color_jitter=0.5).build())
    assert torch.equal(images, pixels())


@pytest.mark.parametrize(("name", "value"), [("min_crop", 1.5), ("color_jitter", -0.1)])
def test_strengths_outside_the_unit_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\], got {value}"):
        Augmentation(output_size=16, **{name: value})
