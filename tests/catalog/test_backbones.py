"""Backbone rows: one name per checkpoint, complete facts, groups, globs and random twins."""

import pytest

from raybench.catalog.backbones import (
    BACKBONES,
    PRETRAIN_IMAGES,
    expand,
    find_backbone,
    group_names,
)
from raybench.core.errors import UnknownNameError


def test_no_two_rows_name_the_same_weights():
    # Battle of the Backbones has two checkpoints under one label.
    weights = [
        (info.timm, str(info.kwargs), info.weights, info.checkpoint, info.init_seed)
        for info in BACKBONES.values()
    ]
    assert len(set(weights)) == len(weights)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_name_carries_the_tag_of_its_weights(name):
    info = BACKBONES[name]
    assert "." in name
    if info.weights == "timm":
        assert info.timm == name


@pytest.mark.parametrize("name", BACKBONES)
def test_a_row_states_family_size_and_pretraining(name):
    info = BACKBONES[name]
    assert info.family != "unknown"
    assert info.method != "unknown"
    assert info.params_m
    assert info.input_size
    assert info.pretrain_images is not None
    assert (info.pretrain_images == 0) == (info.method == "none")
    assert info.licence
    assert info.citation


def test_checkpoints_the_paper_mixed_up_have_rows_of_their_own():
    for name in (
        "resnet50.a1_in1k",
        "resnet50.tv_in1k",
        "convnext_base.fb_in22k",
        "convnext_base.fb_in22k_ft_in1k",
    ):
        assert find_backbone(name).timm == name


def test_random_twin_keeps_architecture_and_preprocessing_but_no_pretraining():
    row, twin = find_backbone("mini_vit.supervised"), find_backbone("mini_vit.supervised.random7")
    assert (twin.timm, twin.kwargs, twin.preprocessing) == (row.timm, row.kwargs, row.preprocessing)
    assert (twin.weights, twin.checkpoint, twin.init_seed) == ("random", None, 7)
    assert (twin.method, twin.pretrain_data, twin.pretrain_images) == ("none", "none", 0)


def test_random_twin_of_an_architecture_keeps_its_keyword_arguments():
    twin = find_backbone("mini_resnet.random3")
    assert twin.kwargs == find_backbone("mini_resnet.supervised").kwargs
    assert twin.init_seed == 3


def test_random_twin_of_a_timm_architecture_is_built_without_a_tag():
    assert find_backbone("resnet50.random").timm == "resnet50"


@pytest.mark.parametrize("name", ["resnet51.random", "nothing_like_it"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UnknownNameError, match=f"unknown backbone '{name}'"):
        find_backbone(name)


def test_a_misspelt_name_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"did you mean 'resnet50.a1_in1k'"):
        find_backbone("resnet50.a1_in1")


def test_globs_match_rows_in_table_order():
    assert expand("resnet50.*") == ["resnet50.a1_in1k", "resnet50.tv_in1k"]


def test_a_glob_without_match_is_refused():
    with pytest.raises(UnknownNameError, match=r"'resnett\*' matches none of the \d+ backbones"):
        expand("resnett*")


@pytest.mark.parametrize("group", group_names())
def test_every_group_has_members(group):
    assert expand("@" + group)


def test_the_papers_small_tier_is_a_group():
    assert {"convnext_tiny.fb_in1k", "swinv2_tiny_window8_256.ms_in1k", "vit_small_patch16_224.dino"} <= set(
        expand("@bob-small")
    )


def test_an_unknown_group_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown group '@minni'; did you mean '@mini'\? Groups: "):
        expand("@minni")


def test_a_plain_name_expands_to_itself_even_without_a_row():
    assert expand("resnet26.bt_in1k") == ["resnet26.bt_in1k"]


@pytest.mark.parametrize("name", [name for name, info in BACKBONES.items() if info.weights == "timm"])
def test_rows_agree_with_timm(name):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    assert BACKBONES[name].input_size == config.input_size[1]
    assert BACKBONES[name].licence == config.license
    assert BACKBONES[name].pretrain_data in PRETRAIN_IMAGES
