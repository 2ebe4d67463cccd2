import math

import pytest
import timm
import torch
import torch.nn.functional as F

from raybench.backbones.mini.augment import colour_jitter, crop_flip, cutout, resized_crop, to_pixels
from raybench.backbones.mini.mae import NUM_VISIBLE, MaskedAutoencoder, patch_targets
from raybench.backbones.mini.recipes import METHODS, recipe_of
from raybench.backbones.mini.simclr import nt_xent
from raybench.backbones.mini.simmim import SimMIM, grow, hidden_blocks
from raybench.catalog.mini import ARCHITECTURES, MINI
from raybench.core.errors import UnknownNameError


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)


@pytest.mark.parametrize("augment", [cutout, resized_crop, colour_jitter])
def test_augmentations_keep_shape_and_range(augment: object, images: torch.Tensor) -> None:
    pixels = augment(to_pixels(images))  # type: ignore[operator]
    assert pixels.shape == (16, 3, 32, 32)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert not torch.equal(pixels, to_pixels(images))


def test_a_crop_is_a_shift_by_at_most_four_pixels_mirrored_or_not(images: torch.Tensor) -> None:
    padded = F.pad(to_pixels(images), (4, 4, 4, 4), mode="replicate")
    for cropped, source in zip(crop_flip(images), padded, strict=True):
        windows = [source[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
        assert any(torch.equal(cropped, w) or torch.equal(cropped, w.flip(2)) for w in windows)


def test_nt_xent_is_the_loss_of_a_loop_over_pairs() -> None:
    torch.manual_seed(0)
    unit = F.normalize(torch.randn(8, 5), dim=1)
    total = 0.0
    for i in range(8):
        partner = (i + 4) % 8
        scores = [math.exp(float(unit[i] @ unit[j]) / 0.2) for j in range(8) if j != i]
        total -= math.log(math.exp(float(unit[i] @ unit[partner]) / 0.2) / sum(scores))
    assert nt_xent(unit, 0.2).item() == pytest.approx(total / 8, rel=1e-5)


def test_nt_xent_of_indistinguishable_views_is_chance() -> None:
    assert nt_xent(torch.ones(8, 1), 0.2).item() == pytest.approx(math.log(7))


def test_patch_targets_are_in_the_order_of_the_tokens_of_the_vit() -> None:
    """Lighting up one patch must change the target and the token of the same index."""
    shape = ARCHITECTURES["mini_vit"]
    embed = timm.create_model(shape.timm, num_classes=0, **shape.kwargs).patch_embed
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[:, :, 8:12, 16:24] = 1  # Half of the patch in row 1, column 2 of 4.
    token_change = (embed(pixels) - embed(torch.zeros_like(pixels))).abs().sum(dim=2)
    target_change = patch_targets(pixels, 8).abs().sum(dim=2)
    assert torch.nonzero(token_change[0] > 1e-6).flatten().tolist() == [6]
    assert torch.nonzero(target_change[0] > 1e-6).flatten().tolist() == [6]


def test_patch_targets_have_no_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    targets = patch_targets(torch.randn(2, 3, 32, 32), 8)
    assert targets.shape == (2, 16, 192)
    assert targets.mean(dim=2).abs().max() < 1e-5
    assert (targets.var(dim=2) - 1).abs().max() < 1e-3


def test_the_loss_of_the_autoencoder_ignores_visible_patches() -> None:
    """Only masked patches are scored: predicting zeros costs the mean square of their targets."""
    shape = ARCHITECTURES["mini_vit"]
    backbone = timm.create_model(shape.timm, num_classes=0, **shape.kwargs)
    method = MaskedAutoencoder(backbone, backbone.num_features)
    torch.nn.init.zeros_(method.reconstruct[1].weight)
    torch.nn.init.zeros_(method.reconstruct[1].bias)
    pixels = torch.randn(4, 3, 32, 32)
    torch.manual_seed(5)
    loss = method((pixels,), torch.zeros(4))
    torch.manual_seed(5)
    hidden = torch.rand(4, 16).argsort(dim=1)[:, NUM_VISIBLE:]
    error = patch_targets(pixels, 8).square().mean(dim=2).gather(1, hidden).mean()
    assert loss.item() == pytest.approx(error.item(), rel=1e-5)


def test_simmim_scores_hidden_pixels_only_and_hides_them_from_the_backbone() -> None:
    """Predicting zeros costs the mean absolute hidden pixel; changing hidden pixels changes no feature."""
    shape = ARCHITECTURES["mini_swin"]
    method = SimMIM(timm.create_model(shape.timm, num_classes=0, **shape.kwargs), 144).eval()
    pixels = torch.randn(4, 3, 32, 32)
    torch.manual_seed(5)
    hidden = grow(hidden_blocks(4, 4), 8)
    assert hidden.flatten(1).sum(dim=1).tolist() == [10 * 64] * 4
    shown = pixels.masked_fill(hidden[:, None], 7.0)
    outputs = []
    method.reconstruct.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    for view in (pixels, shown):
        torch.manual_seed(5)
        method((view,), torch.zeros(4))
    assert torch.equal(outputs[0], outputs[1])
    torch.nn.init.zeros_(method.reconstruct.weight)
    torch.nn.init.zeros_(method.reconstruct.bias)
    torch.manual_seed(5)
    loss = method((pixels,), torch.zeros(4))
    error = pixels.abs().mean(dim=1)[hidden].mean()
    assert loss.item() == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.parametrize("name", [info.name for info in MINI if info.weights == "file"])
def test_the_loss_of_every_recipe_reaches_every_trainable_weight(name: str) -> None:
    architecture, recipe = recipe_of(name)
    shape = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    backbone = timm.create_model(shape.timm, num_classes=0, **shape.kwargs)
    method = recipe.method(backbone, backbone.num_features)
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    method(method.augment(images), torch.arange(8)).backward()
    untouched = {key for key, p in backbone.named_parameters() if p.grad is None}
    assert untouched <= {"fc_norm.weight", "fc_norm.bias"}  # After pooling, which masked autoencoding skips.


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'mini_vit.supervised'"):
        recipe_of("mini_vit.supervise")


def test_every_shipped_method_has_a_recipe() -> None:
    assert {m for shape in ARCHITECTURES.values() for m in shape.methods} <= set(METHODS)
