"""The key `spaces`: what each backbone's search gets, what a plan prints, what is refused with its line."""

import json

import pytest

from raybench.catalog.search_spaces import Choice, Float, Int
from raybench.catalog.tasks import PROTOCOLS
from raybench.spec import diff, load_spec
from raybench.spec.experiment import ExperimentSpec
from raybench.spec.plan import make_plan

VIT, RESNET = "mini_vit.supervised", "mini_resnet.supervised"
FINETUNE = "[finetune@digits, knn@digits, linear_probe@digits]"


@pytest.fixture
def load(write):
    """The spec with these `spaces`, a flow-style list."""
    return lambda spaces, **lines: load_spec(write(tasks=FINETUNE, spaces=spaces, **lines))


def finetune(load, space: str, backbone: str = VIT):
    return load(f"[{{protocol: finetune, space: {space}}}]").space_of("finetune", backbone)


def test_without_spaces_the_stored_spec_is_that_of_earlier_versions(write):
    stored = load_spec(write()).to_dict()
    assert "spaces" not in stored
    assert ExperimentSpec.from_dict(stored).space_of("knn", VIT) == PROTOCOLS["knn"].space


def test_a_range_keeps_scale_and_default_of_the_protocol_where_it_can(load):
    space = finetune(load, "{lr: {low: 1e-4, high: 1e-2}, weight_decay: {low: 0.1, high: 0.2, log: false}}")
    assert space["lr"] == Float(low=1e-4, high=1e-2, log=True, default=1e-3)
    assert space["weight_decay"] == Float(low=0.1, high=0.2, log=False, default=0.1)  # 0.05 is outside.


def test_a_list_is_a_choice_and_a_bare_value_is_fixed(load):
    space = finetune(load, "{layer_decay: [0.65, 0.75, 1.0], drop_path: 0.2}")
    assert space["layer_decay"] == Choice(options=(0.65, 0.75, 1.0), default=0.75)
    assert space["drop_path"] == Choice(options=(0.2,), default=0.2)


def test_dimensions_that_are_fixed_by_default_can_be_searched(load):
    space = finetune(load, "{batch_size: {low: 8, high: 64, log: true}, flip: [true, false]}")
    assert space["batch_size"] == Int(low=8, high=64, log=True, default=64)
    assert space["flip"] == Choice(options=(True, False), default=False)
    assert set(PROTOCOLS["finetune"].space) < set(space)


def test_backbones_are_named_by_name_glob_or_group_and_later_items_win(load):
    spec = load(
        "[{protocol: finetune, space: {drop_path: 0.1}}, "
        "{protocol: finetune, backbones: ['mini_vit*'], space: {drop_path: 0.2}}, "
        "{protocol: finetune, backbones: ['@mini'], space: {layer_decay: 1.0}}]"
    )
    assert spec.space_of("finetune", VIT)["drop_path"].default == 0.2
    assert spec.space_of("finetune", RESNET)["drop_path"].default == 0.1
    assert spec.space_of("finetune", RESNET)["layer_decay"].default == 1.0
    assert [entry.backbones for entry in spec.spaces] == [None, [VIT], [VIT, RESNET]]


def test_a_packed_grid_takes_a_list_or_a_spaced_range(load):
    spec = load(
        "[{protocol: linear_probe, space: {weight_decay: [0.01, 0, 1e-3], lr: {low: .001, high: 1, num: 4}}},"
        " {protocol: knn, space: {k: {low: 1, high: 9, log: false, num: 3}, weighting: [uniform, 0.3]}}]"
    )
    assert spec.packed_of("linear_probe", VIT) == {
        "weight_decay": (0, 1e-3, 0.01),
        "lr": (0.001, 0.01, 0.1, 1.0),
    }
    assert spec.packed_of("knn", VIT) == {"k": (1, 5, 9), "weighting": (0.3, "uniform")}
    grid = PROTOCOLS["linear_probe"].packed_grid({"solver": "sgd"}, spec.packed_of("linear_probe", VIT))
    assert grid == spec.packed_of("linear_probe", VIT) | {}
    assert "inverse_l2" in PROTOCOLS["linear_probe"].packed_grid({"solver": "lbfgs"}, grid)


def test_a_spec_with_spaces_survives_the_storage(load):
    spec = load(
        "[{protocol: finetune, space: {lr: {low: 1e-4, high: 1e-2, when: {flip: [true]}}, flip: true}}]"
    )
    again = ExperimentSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.digest == spec.digest
    assert again.space_of("finetune", VIT) == spec.space_of("finetune", VIT)


def test_another_space_extends_an_experiment(write):
    old = load_spec(write())
    new = load_spec(write(spaces="[{protocol: knn, space: {feature_norm: [l2, none]}}]"))
    assert diff(old, new).conflicts == []
    assert any("spaces" in line for line in diff(old, new).extends)


def test_a_plan_prints_the_space_of_each_group_of_backbones(load):
    spec = load(
        "[{protocol: finetune, backbones: ['*resnet*'], space: {lr: {low: 1e-4, high: 1e-2}}}, "
        "{protocol: knn, space: {feature_norm: [l2, none], k: [1, 5]}}]"
    )
    text = " ".join(make_plan(spec).render().split())
    assert f"finetune ({RESNET}): lr 0.0001 to 0.01 (log)" in text
    assert f"finetune ({VIT}): lr 1e-05 to 0.003 (log)" in text
    assert "knn: feature_norm l2|none; within each trial k 1|5 · weighting uniform|" in text
    assert "backbones get different search spaces" in text
    assert "knn 2 4 4" in text  # Pairs, search trials of two choices each, final trials.


def test_a_value_on_request_can_be_asked_for_and_is_printed_then_only(write):
    fixed = {"tasks": "[linear_probe@digits]"}
    asked = load_spec(write(spaces="[{protocol: linear_probe, space: {solver: [ridge, lbfgs]}}]", **fixed))
    assert asked.space_of("linear_probe", VIT)["solver"].options == ("ridge", "lbfgs")
    text = " ".join(make_plan(asked).render().split())
    assert "solver ridge|lbfgs" in text
    assert (
        "within each trial inverse_l2 1e-06 to 100000 (40 values) · ridge_penalty 1e-07 to 10000 (45" in text
    )
    assert "ridge" not in make_plan(load_spec(write(**fixed))).render()


def test_a_recipe_may_name_a_value_on_request(write):
    hparams = "{solver: ridge, feature_norm: none, batch_size: 256, epochs: 20, ridge_penalty: 0.1}"
    spec = load_spec(write(tasks="[linear_probe@digits]", search="{}", hparams=hparams))
    assert spec.hparams is not None
    assert spec.hparams["solver"] == "ridge"


def test_a_recipe_may_state_its_grid_but_no_searched_dimension(write, problems):
    fixed = {
        "tasks": "[linear_probe@digits]",
        "search": "{}",
        "hparams": "{solver: lbfgs, feature_norm: none, batch_size: 256, epochs: 20, inverse_l2: 1.0}",
    }
    spec = load_spec(write(spaces="[{protocol: linear_probe, space: {inverse_l2: [0.1, 1.0]}}]", **fixed))
    assert spec.packed_of("linear_probe", VIT) == {"inverse_l2": (0.1, 1.0)}
    [problem] = problems(spaces="[{protocol: linear_probe, space: {batch_size: [64]}}]", **fixed)
    assert "fixes the hyperparameters, so batch_size is not searched" in problem


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            "{protocol: finetun, space: {lr: 0.1}}",
            "'finetun'; did you mean 'finetune'",
        ),
        ("{protocol: retrieval, space: {layer: 0}}", "no task uses protocol 'retrieval'"),
        (
            "{protocol: finetune, space: {lrr: 0.1}}",
            "no hyperparameter 'lrr'; did you mean 'lr'",
        ),
        ("{protocol: finetune, backbones: [vit_b], space: {lr: 0.1}}", "none of the spec's backbones"),
        ("{protocol: finetune, backbones: ['@nosuch'], space: {lr: 0.1}}", "nosuch"),
        ("{protocol: finetune, space: {lr: {low: 0.1}}}", "`lr` needs `low` and `high`, or `values`."),
        ("{protocol: finetune, space: {lr: {low: 0.1, high: 0.01}}}", "needs `low` below `high`"),
        ("{protocol: finetune, space: {lr: {low: 0, high: 1, log: true}}}", "must lie in [1e-10, 10], got 0"),
        ("{protocol: finetune, space: {lr: -1}}", "must lie in [1e-10, 10], got -1"),
        ("{protocol: finetune, space: {lr: .nan}}", "must lie in [1e-10, 10], got nan"),
        ("{protocol: finetune, space: {lr: fast}}", "`lr` must be a number, got 'fast'."),
        ("{protocol: finetune, space: {lr: true}}", "`lr` must be a number, got True."),
        ("{protocol: finetune, space: {lr: {values: [1], low: 1}}}", "has both `values` and a range"),
        ("{protocol: finetune, space: {lr: {values: [1], default: 2}}}", "has the default 2, which is not"),
        (
            "{protocol: finetune, space: {lr: {low: 1, high: 2, default: 3}}}",
            "has the default 3, which is not",
        ),
        ("{protocol: finetune, space: {lr: {low: 1, high: 2, num: 3}}}", "takes no `num`"),
        ("{protocol: finetune, space: {batch_size: 16.5}}", "takes whole numbers, got 16.5"),
        ("{protocol: finetune, space: {epochs: 500}}", "must lie in [1, "),
        ("{protocol: finetune, space: {flip: {low: 0, high: 1}}}", "takes values, not a range: False, True."),
        ("{protocol: finetune, space: {weight_decay: {low: 0, high: 1}}}", "`low` must be more than 0"),
        (
            "{protocol: linear_probe, space: {solver: [sgd, newton]}}",
            "must be one of sgd, adamw, lbfgs, ridge, got",
        ),
        ("{protocol: linear_probe, space: {lr: {values: [1], default: 1}}}", "takes no `default` or `when`"),
        ("{protocol: knn, space: {k: [0]}}", "must lie in [1, 10000], got 0"),
        ("{protocol: knn, space: {k: [1.5]}}", "takes whole numbers, got 1.5"),
        ("{protocol: knn, space: {weighting: [votes]}}", "must be one of uniform"),
        ("{protocol: linear_probe, space: {lr: {low: 1e-5, high: 1, num: 300}}}", "1200 heads at once"),
        ("{protocol: finetune, space: {lr: {values: [1], when: {nope: 1}}}}", "`when` of lr names 'nope'"),
        (
            "{protocol: linear_probe, space: {batch_size: {values: [64], when: {solver: newton}}}}",
            "solver never has the value 'newton', so batch_size is never searched.",
        ),
        ("{protocol: finetune, space: {}}", "needs at least one entry"),
        ("{protocol: finetune, space: {lr: []}}", "needs at least one entry"),
        ("{protocol: finetune, spaces: {lr: 1}}", "unknown key 'spaces'"),
        ("{protocol: finetune, space: {lr: {lo: 1, high: 2}}}", "unknown key 'lo'; did you mean 'low'?"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_with_its_line(problems, entry, sentence):
    found = problems(tasks=FINETUNE, spaces=f"[{entry}]")
    assert any(sentence in problem and problem.startswith("line 7:") for problem in found), found


@pytest.mark.parametrize(
    ("lines", "key"), [({"budget": "hugee"}, "budget"), ({"tasks": "knn@digits"}, "tasks")]
)
def test_a_wrong_budget_or_task_list_is_not_also_reported_as_a_wrong_space(problems, lines, key):
    sound = {"spaces": "[{protocol: knn, space: {k: [1, 5]}}]", **lines}
    (problem,) = problems(**sound)
    assert problem.startswith(f"line {['', 'name', 'backbones', 'tasks', 'search', 'budget'].index(key)}:")
