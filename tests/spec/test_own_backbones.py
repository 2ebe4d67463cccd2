"""Checkpoints of one's own: family and size come from the network; each has random twins."""

import json

import pytest

from raybench.experiment.spec_entries import backbone_entry
from raybench.spec import load_spec

OWN = "{{name: mine, timm: {timm}, checkpoint: {path}{more}}}"


@pytest.fixture
def own(write, tmp_path):
    """Load a spec with a checkpoint of one's own and further entries; its backbones by name."""

    def _own(*others, timm="resnet10t", more=""):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(b"not read at plan")
        entries = [OWN.format(timm=timm, path=path, more=more), *others]
        spec = load_spec(write(backbones=f"[{', '.join(entries)}]"))
        return {info.name: info for info in spec.backbones}

    return _own


@pytest.fixture(autouse=True)
def fake_timm(monkeypatch):
    """In place of `conftest.fake_timm`: timm itself."""


@pytest.mark.parametrize(
    ("timm", "family", "params_m"),
    [
        ("resnet10t", "cnn", 4.92),
        ("deit_tiny_patch16_224", "transformer", 5.52),
        ("mobilevit_xxs", "hybrid", 0.95),
    ],
)
def test_family_and_size_are_read_off_the_network(own, timm, family, params_m):
    info = own(timm=timm)["mine"]
    assert (info.family, info.params_m) == (family, pytest.approx(params_m, abs=0.01))


def test_what_the_spec_states_is_kept(own):
    info = own(more=", family: hybrid, params_m: 7.0")["mine"]
    assert (info.family, info.params_m) == ("hybrid", 7.0)


def test_the_family_of_a_network_that_timm_cannot_build_is_unknown(own):
    assert own(more=", kwargs: {depht: 3}")["mine"].family == "unknown"


def test_a_checkpoint_of_ones_own_has_random_twins(own):
    infos = own(
        "mine.random", "mine.random7", more=", preprocessing: {input_size: 64}, kwargs: {stem_width: 8}"
    )
    twin = infos["mine.random7"]
    assert (twin.weights, twin.init_seed, twin.checkpoint, twin.method) == ("random", 7, None, "none")
    assert (twin.timm, twin.kwargs, twin.preprocessing) == (
        infos["mine"].timm,
        infos["mine"].kwargs,
        infos["mine"].preprocessing,
    )
    assert infos["mine.random"].init_seed == 0
    assert (twin.family, twin.params_m) == (infos["mine"].family, infos["mine"].params_m)


def test_the_twin_may_be_listed_before_its_base(write, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"")
    entry = OWN.format(timm="resnet10t", path=path, more="")
    spec = load_spec(write(backbones=f"[mine.random, {entry}]"))
    assert [info.name for info in spec.backbones] == ["mine.random", "mine"]


def test_a_recipe_of_a_twin_holds_its_architecture(own, write):
    twin = own("mine.random7", more=", kwargs: {stem_width: 8}")["mine.random7"]
    entry = backbone_entry(twin)
    assert entry["random"] == 7
    (again,) = load_spec(write(backbones=f"[{json.dumps(entry)}]")).backbones
    assert again == twin


def test_the_recipe_of_a_known_twin_is_its_name(write):
    spec = load_spec(write(backbones="[mini_vit.supervised.random3, resnet10t.random, mini_vit.random]"))
    assert [backbone_entry(info) for info in spec.backbones] == [info.name for info in spec.backbones]


def test_weights_are_from_a_file_or_random_but_not_both(problems, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"")
    entry = OWN.format(timm="resnet10t", path=path, more=", random: 1")
    (problem,) = problems(backbones=f"[{entry}]")
    assert "`checkpoint` and `random` both say what the weights are" in problem
