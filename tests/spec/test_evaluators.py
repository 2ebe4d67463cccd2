"""What a spec may write under `evaluators`."""

import json

import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.core.errors import SpecError
from raybench.spec import ExperimentSpec, load_spec
from raybench.spec.settings import resolve_settings, restore_settings

SPEC = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@digits]
budget: smoke
evaluators: {evaluators}
"""


@pytest.fixture
def read(tmp_path):
    def read_text(evaluators):
        (tmp_path / "s.yaml").write_text(SPEC.format(evaluators=evaluators))
        return load_spec(tmp_path / "s.yaml")

    return read_text


@pytest.mark.parametrize("name", EVALUATORS)
def test_a_bare_name_means_the_first_preset(read, name):
    info = EVALUATORS[name]
    assert read(f"[{name}]").evaluators[name] == json.loads(
        json.dumps(info.presets[info.default_preset].as_dict())
    )


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name, info in EVALUATORS.items() for preset in info.presets]
)
def test_every_preset_survives_json_and_has_its_own_digest(read, name, preset):
    info = EVALUATORS[name]
    settings = resolve_settings(info, preset)
    assert restore_settings(info, json.loads(json.dumps(settings.as_dict()))) == settings
    assert read(f"[{{{name}: {preset}}}]").evaluators_of("linear_probe")[name].digest == settings.digest


def test_specs_of_earlier_versions_hold_bare_names(read):
    stored = read("[]").to_dict() | {"evaluators": ["calibration"]}
    assert list(ExperimentSpec.from_dict(stored).evaluators) == ["calibration"]


@pytest.mark.parametrize(
    ("evaluators", "sentence"),
    [
        ("[7]", "an evaluator is a name or `NAME: PRESET`, got 7"),
        ("[calibration: fast]", "evaluator 'calibration' has no preset 'fast'"),
        ("[calibration: {bins: 10}]", "evaluator 'calibration': bins: "),
    ],
)
def test_mistakes_are_reported_with_their_line(read, evaluators, sentence):
    with pytest.raises(SpecError, match="line 6: " + sentence.replace("[", r"\[")):
        read(evaluators)


def test_an_evaluator_that_does_not_suit_a_protocol_is_left_out(read):
    needs = {name: EVALUATORS[name].needs for name in read("[calibration]").evaluators_of("knn")}
    assert "gradients" not in needs.values()
