from itertools import pairwise

import pytest
from torch import nn

from raybench.backbones.layer_decay import param_groups
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone

ARCHITECTURES = ["mini_resnet", "mini_convnext", "mini_vit", "mini_swin"]


def grouped(name, **options):
    backbone = load_backbone(find_backbone(f"{name}.random"))
    head = nn.Linear(backbone.num_features, 3)
    settings = {"lr": 1.0, "weight_decay": 0.1, "layer_decay": 0.5, **options}
    return backbone, head, param_groups(backbone, head, **settings)


def rate_of(groups, parameter):
    return next(g["lr"] for g in groups if any(p is parameter for p in g["params"]))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_is_in_exactly_one_group(name):
    backbone, head, groups = grouped(name)
    listed = [id(p) for g in groups for p in g["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for module in (backbone, head) for p in module.parameters()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_stem_learns_slowest_and_the_head_at_the_full_rate(name):
    backbone, head, groups = grouped(name)
    rates = [g["lr"] for g in groups]
    assert rate_of(groups, head.weight) == max(rates) == 1.0
    assert rate_of(groups, next(p for p in backbone.parameters() if p.ndim == 4)) == min(rates) < 0.5


def test_a_vits_rates_fall_by_the_factor_at_every_block():
    backbone, _, groups = grouped("mini_vit")
    rates = [rate_of(groups, block.mlp.fc1.weight) for block in backbone.model.blocks]
    assert [b / a for a, b in pairwise(rates)] == [2.0] * (len(rates) - 1)


def test_without_decay_all_rates_are_equal():
    _, _, groups = grouped("mini_vit", layer_decay=1.0, lr=0.3)
    assert {g["lr"] for g in groups} == {0.3}


def test_biases_norms_and_position_embeddings_do_not_decay():
    backbone, head, groups = grouped("mini_vit")
    still = {id(p) for g in groups if g["weight_decay"] == 0.0 for p in g["params"]}
    assert {id(head.bias), id(backbone.model.pos_embed), id(backbone.model.blocks[0].norm1.weight)} <= still
    assert id(head.weight) not in still


def test_frozen_parameters_are_left_out():
    backbone = load_backbone(find_backbone("mini_vit.random")).freeze()
    groups = param_groups(backbone, nn.Linear(4, 2), lr=1.0, weight_decay=0.1, layer_decay=0.5)
    assert sum(len(g["params"]) for g in groups) == 2
