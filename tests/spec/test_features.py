"""The key `features`: how frozen features are computed."""

import pytest

from raybench.spec import diff, load_spec
from raybench.spec.experiment import ExperimentSpec
from raybench.spec.plan import make_plan


def test_a_spec_without_the_key_keeps_its_stored_form(write):
    spec = load_spec(write())
    assert "features" not in spec.to_dict()
    assert load_spec(write(features="{precision: float32}")).digest == spec.digest


def test_a_changed_setting_is_stored_and_restored(write):
    spec = load_spec(write(features="{precision: bfloat16}"))
    assert spec.to_dict()["features"] == {"precision": "bfloat16"}
    assert ExperimentSpec.from_dict(spec.to_dict()) == spec


def test_another_precision_conflicts_with_what_is_measured(write):
    old, new = load_spec(write()), load_spec(write(features="{precision: bfloat16}"))
    (conflict,) = diff(old, new).conflicts
    assert conflict.startswith("features: precision float32, resize exact")
    assert "→ precision bfloat16" in conflict


def test_the_plan_shows_the_settings_and_where_they_do_not_apply(write):
    def text(**lines: str) -> str:
        return make_plan(load_spec(write(**lines))).render()

    assert "features        precision float32" in text()
    changed = text(features="{precision: bfloat16}", evaluators="[corruption]")
    assert "features        precision bfloat16" in changed
    assert "evaluators that change images pass them in float32" in " ".join(changed.split())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            {"features": "{precision: bf16}"},
            "line 7: `features.precision` must be one of float32, tf32, bfloat16, float16, got 'bf16'; "
            "did you mean",
        ),
        ({"features": "{dtype: float16}"}, "line 7: unknown key 'dtype'"),
        (
            {"features": "{precision: tf32}", "resources": "{gpus_per_trial: 0}"},
            "line 7: `features.precision` tf32 needs an NVIDIA GPU, but `resources` give the features stage "
            "none",
        ),
        (
            {"features": "{precision: bfloat16}", "tasks": "[finetune@digits]"},
            "line 7: `features` is given, but finetune computes no frozen features",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line(problems, lines, message):
    assert any(problem.startswith(message) for problem in problems(**lines)), problems(**lines)
