"""TPE and Gaussian process: they learn, repeat no choice, and have no state between two trials."""

import pytest

from raybench.catalog.search_spaces import KNN, Choice, Float, contains, defaults
from raybench.tuning.model_sampling import NUM_STARTUP, ModelSampler, PastTrial
from raybench.tuning.sampling import sequence

LINE = {"x": Float(low=0.0, high=1.0, default=0.5)}
CONDITIONAL = {
    "kind": Choice(options=("a", "b"), default="a"),
    "x": Float(low=0.0, high=1.0, default=0.5, when={"kind": ("b",)}),
}


def search(sampler: str, num_trials: int, seed: int = 0, num_running: int = 0) -> list[float]:
    """Values of x that are tried for the objective -|x - 0.9|; the last trials always count as running."""
    model, tried = ModelSampler(sampler, LINE, seed), list[float]()
    for index in range(num_trials):
        ended = index - num_running
        history = [
            PastTrial(hparams={"x": x}, value=-abs(x - 0.9) if i < ended else None, is_running=i >= ended)
            for i, x in enumerate(tried)
        ]
        tried.append(float(model.ask(history)["x"]))
    return tried


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize("num_running", [0, 3])
def test_a_model_moves_towards_choices_that_scored_well(sampler, num_running):
    tried = search(sampler, 24, num_running=num_running)
    assert tried[:NUM_STARTUP] == [choice["x"] for choice in sequence(LINE, "qmc", NUM_STARTUP, 0)]
    near = sum(abs(x - 0.9) < 0.2 for x in tried[-10:])
    assert near > 5, f"{near} of the last 10 trials are near the optimum; 3 of 10 random ones would be"


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_trial_depends_on_the_seed_and_the_history_only(sampler):
    assert search(sampler, 8) == search(sampler, 8)
    assert search(sampler, 8) != search(sampler, 8, seed=1)
    tried = search(sampler, 8)
    history = [PastTrial(hparams={"x": x}, value=-abs(x - 0.9)) for x in tried[:-1]]
    assert ModelSampler(sampler, LINE, 0).ask(history) == {"x": tried[-1]}


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_finite_space_is_tried_once_and_then_exhausted(sampler):
    model, history = ModelSampler(sampler, KNN, 0), list[PastTrial]()
    while (hparams := model.ask(history)) is not None:
        history.append(PastTrial(hparams=hparams, value=0.5))
    assert sorted(trial.hparams["feature_norm"] for trial in history) == ["l2", "none", "standardize"]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_conditional_dimension_keeps_its_default_where_it_is_not_searched(sampler):
    model, history = ModelSampler(sampler, CONDITIONAL, 3), list[PastTrial]()
    for index in range(10):
        hparams = model.ask(history)
        assert contains(CONDITIONAL, hparams)
        value = None if index == 5 else float(hparams["x"])  # One trial failed.
        history.append(PastTrial(hparams=hparams, value=value))
    assert {trial.hparams["kind"] for trial in history} == {"a", "b"}


def test_without_any_result_sobol_points_are_tried():
    model = ModelSampler("gp", LINE, 0)
    failed = [PastTrial(hparams=hparams) for hparams in sequence(LINE, "qmc", 6, 0)]
    assert model.ask(failed) == sequence(LINE, "qmc", 7, 0)[-1]


def test_a_warm_start_comes_after_the_defaults():
    model = ModelSampler("tpe", LINE, 0, first=[{"x": 0.25}])
    history = [PastTrial(hparams=defaults(LINE), value=0.1)]
    assert model.ask(history) == {"x": 0.25}
