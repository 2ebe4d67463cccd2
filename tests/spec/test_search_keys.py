"""Keys of `search` in a spec: what is accepted, what is refused with its line, and what the plan says."""

import pytest

from raybench.spec import load_spec, make_plan

FINETUNE = {"tasks": "[finetune@digits]"}
POINTS = "{lr: 2, weight_decay: 2, layer_decay: 2, drop_path: 2}"


def test_a_grid_is_planned_with_the_defaults_as_a_choice_of_their_own(write):
    search = f"{{sampler: grid, num_trials: 17, grid_points: {POINTS}}}"
    plan = make_plan(load_spec(write(budget="standard", search=search, **FINETUNE)))
    assert plan.search_trials == 2 * (2**4 + 1)
    assert "tries the defaults, then every combination" in plan.render()


def test_a_grid_of_choices_needs_no_points(write):
    plan = make_plan(load_spec(write(tasks="[knn@digits]", search="{sampler: grid}")))
    assert plan.search_trials == 2 * 3


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            "{sampler: grid}",
            "the grid of finetune for mini_vit.supervised needs a number of values for the ranges lr, "
            "weight_decay, layer_decay, drop_path: add for example `grid_points: {lr: 3}` to `search`",
        ),
        (
            f"{{sampler: grid, grid_points: {POINTS}}}",
            "line 4: the grid of finetune for mini_vit.supervised has 17 choices, the defaults included, but "
            "the search has 8 trials per pair; give fewer values, or raise",
        ),
        ("{sampler: grid, grid_points: {lrr: 3}}", "no search space has a range 'lrr'; did you mean 'lr'?"),
        ("{sampler: grid, grid_points: {lr: 1}}", "`search.grid_points.lr` must be at least 2, got 1."),
        ("{grid_points: {lr: 3}}", "is for `sampler: grid`; with `sampler: qmc` remove it."),
        ("{converged: {}}", "`search.converged.trials` is missing"),
        ("{converged: {trials: 0}}", "`search.converged.trials` must be at least 1, got 0."),
        ("{converged: {trials: 5, tolerence: 0.1}}", "unknown key 'tolerence'; did you mean 'tolerance'?"),
        (
            "{converged: {trials: 5, tolerance: -1}}",
            "`search.converged.tolerance` must be at least 0",
        ),
        ("{max_parallel: 2}", "`search.max_parallel` is for the samplers tpe and gp"),
        ("{sampler: gp, max_parallel: 0}", "`search.max_parallel` must be at least 1, got 0."),
    ],
)
def test_what_cannot_be_searched_is_refused(problems, search, message):
    (problem,) = problems(search=search, **FINETUNE)
    assert message in problem
    assert problem.startswith("line 4: ")


def test_points_of_a_choice_are_refused(problems):
    (problem,) = problems(tasks="[knn@digits]", search="{sampler: grid, grid_points: {feature_norm: 3}}")
    assert "feature_norm is a choice, and a grid tries all of its options" in problem


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_plan_states_on_which_results_a_trial_depends(write, sampler):
    search = f"{{sampler: {sampler}, num_trials: 4, max_parallel: 2}}"
    notes = make_plan(load_spec(write(search=search))).notes
    assert any("trial i uses the results of trials 0 to i - 2" in note for note in notes)


def test_specs_without_these_keys_keep_their_stored_form(write):
    stored = load_spec(write()).to_dict()["search"]
    assert set(stored) == {"sampler", "num_trials", "early_stopping", "seed"}


def test_a_plan_says_when_searches_end_early(write):
    spec = load_spec(write(search="{num_trials: 8, converged: {trials: 5, tolerance: 0.001}}"))
    assert "not improved by more than 0.001 in 5 trials" in " ".join(make_plan(spec).render().split())
    assert type(spec).from_dict(spec.to_dict()) == spec
