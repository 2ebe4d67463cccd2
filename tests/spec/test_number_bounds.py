"""Numbers of a spec that would fail after the search are refused when it is read, with their line."""

import pytest

from raybench.spec import load_spec

BACKBONE = "[{{name: mine, timm: resnet18.a1_in1k, {}}}]"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seeds", "[9223372036854775808]", "`seeds[0]` must be at most 9223372036854775807, got"),
        ("seeds", "[0, 1.0e+400]", "`seeds[1]` must be a"),
        ("seeds", "[.nan]", "`seeds[0]` must be a"),
        ("search", "{num_trials: 4, seed: 9223372036854775808}", "`search.seed` must be at most"),
        (
            "resources",
            "{cpus_per_trial: .inf}",
            "`resources.cpus_per_trial` must be a finite number",
        ),
        (
            "resources",
            "{cpus_per_trial: .nan}",
            "`resources.cpus_per_trial` must be a finite number",
        ),
        ("resources", "{gpus_per_trial: .inf}", "`resources.gpus_per_trial` must be a finite number"),
        (
            "max_epochs",
            "{linear_probe: 100000000000000000000}",
            "must be at most 10000",
        ),
        ("backbones", BACKBONE.format("params_m: .inf"), "`backbones[0].params_m` must be a finite number"),
        ("backbones", BACKBONE.format("params_m: .nan"), "`backbones[0].params_m` must be a finite number"),
        ("backbones", BACKBONE.format("params_m: 0"), "`backbones[0].params_m` must be more than 0"),
        ("backbones", BACKBONE.format("params_m: -1"), "`backbones[0].params_m` must be more than 0"),
        ("backbones", BACKBONE.format("pretrain_images: 100000000000000000000"), "must be at most 10"),
        (
            "backbones",
            BACKBONE.format("kwargs: {drop_rate: .nan}"),
            "numbers in `kwargs` must be finite",
        ),
        (
            "backbones",
            BACKBONE.format("kwargs: {a: [1, .inf]}"),
            "numbers in `kwargs` must be finite",
        ),
        (
            "backbones",
            BACKBONE.format("preprocessing: {crop_pct: .nan}"),
            "crop_pct` must be a finite number",
        ),
        (
            "backbones",
            BACKBONE.format("preprocessing: {crop_pct: 0.000001}"),
            "crop_pct` must be at least 0.25",
        ),
        ("preprocessing", "{crop_pct: 3}", "crop_pct` must be at most 2"),
        (
            "backbones",
            BACKBONE.format("preprocessing: {mean: [.nan, 0, 0]}"),
            "mean[0]` must be a finite number",
        ),
        ("preprocessing", "{mean: [0, 0, 124]}", "mean[2]` must be at most 1"),
        ("preprocessing", "{std: [0, 1, 1]}", "std[0]` must be at least 0.001"),
        (
            "backbones",
            BACKBONE.format("preprocessing: {std: [1, .inf, 1]}"),
            "std[1]` must be a finite number",
        ),
        (
            "backbones",
            BACKBONE.format("preprocessing: {input_size: 1000000}"),
            "input_size` must be at most 16384",
        ),
        ("backbones", "[resnet18.random9223372036854775808]", "the seed of a random twin must be below 2^63"),
    ],
)
def test_a_number_beyond_its_bounds_is_refused_before_anything_starts(problems, key, value, message):
    if key == "preprocessing":
        key, value = "backbones", BACKBONE.format(f"preprocessing: {value}")
    sentences = problems(**{key: value})
    assert any(message in sentence for sentence in sentences), sentences


def test_the_largest_seed_is_accepted(write):
    assert load_spec(write(seeds="[9223372036854775807]")).seeds == [2**63 - 1]
