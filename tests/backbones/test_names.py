import pytest

from raybench.backbones.names import has_timm_weights, is_timm_name, successor_of, timm_names


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "vit_base_patch16_224.augreg_in21k"])
def test_architectures_and_tags_are_known(name):
    assert is_timm_name(name)
    assert name in timm_names()


@pytest.mark.parametrize("name", ["resnet18.a1", "resnet19", "", "resnet18.", "hf-hub:timm/resnet18"])
def test_unknown_tags_are_not_timm_names(name):
    assert not is_timm_name(name)


def test_architectures_without_weights_are_recognised():
    assert has_timm_weights("resnet18.a1_in1k")
    assert not has_timm_weights("botnet50ts_256")
    assert not has_timm_weights("no_such_model")


def test_timm_knows_the_successor_of_a_name_it_has_changed():
    assert successor_of("convnext_tiny_in22ft1k") == "convnext_tiny.fb_in22k_ft_in1k"
    assert successor_of("resnet18") is None
