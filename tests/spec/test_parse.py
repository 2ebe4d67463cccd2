"""A spec file is read, or refused with every mistake in it."""

import json
import random

import pytest

from raybench.catalog.budgets import BUDGETS
from raybench.core.errors import SpecError
from raybench.spec import ExperimentSpec, load_spec

BAD = """\
name: bad name
backbones:
  - mini_vit.supervisd
  - mini_vit.supervised
  - mini_vit.supervised
tasks: [knn@digts, linear_prob@digits, knn, knn@own]
datasets:
  own: {folder: nowhere, unreadble: skip}
serach: {sampler: qmc}
search: {sampler: sobol, num_trials: 0}
budget: quik
seeds: [0, 0]
evaluators: [calibraton]
"""


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(problems):
    sentences = problems(BAD)
    lines = [int(problem.split(":")[0].removeprefix("line ")) for problem in sentences]
    assert lines == sorted(lines)
    assert set(lines) == {1, 3, 5, 6, 8, 9, 10, 11, 12, 13}
    assert len(sentences) == 13


def test_the_error_names_the_file_and_counts(write):
    path = write(BAD)
    with pytest.raises(SpecError, match=rf"^{path}: 13 problems\n  line 1: `name` must be letters"):
        load_spec(path)


def test_a_good_spec_is_resolved(write):
    spec = load_spec(write())
    assert [info.name for info in spec.backbones] == ["mini_vit.supervised", "mini_resnet.supervised"]
    assert (spec.search.num_trials, spec.search.early_stopping, spec.seeds) == (4, "none", [0, 1])
    assert spec.max_epochs == {"linear_probe": 30, "knn": 1}
    assert list(spec.datasets) == ["digits"]


def test_missing_keys_get_the_budgets_values(write):
    spec = load_spec(write("name: short\nbackbones: [mini_vit.mae]\ntasks: [knn@digits]\nbudget: thorough\n"))
    assert spec.search.num_trials == BUDGETS["thorough"].num_trials
    assert spec.seeds == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_every_spelling_of_a_number_is_a_number(write, text):
    hparams = f"{{lr: {text}, weight_decay: 0.05, layer_decay: 0.75, drop_path: 0.1}}"
    spec = load_spec(write(tasks="[finetune@digits]", search="{sampler: qmc}", hparams=hparams))
    assert spec.hparams is not None
    assert spec.hparams["lr"] == 0.001


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("search", "{num_trials: 0}", "line 4: `search.num_trials` must be at least 1, got 0."),
        (
            "search",
            "{num_trials: many}",
            "line 4: `search.num_trials` must be a whole number, got 'many' (text).",
        ),
        ("search", "{num_trials: 2.5}", "line 4: `search.num_trials` must be a whole number, got 2.5."),
        (
            "search",
            "{num_trials: true}",
            "line 4: `search.num_trials` must be a whole number, got true (true or",
        ),
        (
            "search",
            "{sampler: tpee}",
            "one of random, qmc, tpe, gp, grid, got 'tpee'; did you mean 'tpe'?",
        ),
        (
            "search",
            "{early_stopping: null}",
            "must be one of none, asha, hyperband, median, got nothing; did you mean 'none'?",
        ),
        ("search", "qmc", "line 4: `search` must be a mapping of keys to values, got 'qmc' (text)."),
        (
            "search",
            "{num_trials: 9}",
            "budget 'quick' allows 8 trials per pair, but `search.num_trials` is 9; use",
        ),
        ("budget", "quik", "line 5: unknown budget 'quik'; did you mean 'quick'?"),
        ("seeds", "[0, 1, 0]", "line 6: seed 0 is listed twice"),
        ("seeds", "[]", "line 6: `seeds` needs at least one entry, got []."),
        ("seeds", "[-1]", "line 6: `seeds[0]` must be at least 0, got -1."),
        ("tasks", "[]", "line 3: `tasks` needs at least one entry, got []."),
        (
            "tasks",
            "[knn@digits, knn@digits]",
            "line 3: task 'knn@digits' is already listed in line 3; keep one.",
        ),
        (
            "tasks",
            "[knn]",
            "line 3: task 'knn' is not of the form 'protocol@dataset'; write for example 'knn@cifar10'",
        ),
        ("tasks", "[knnn@digits]", "line 3: unknown protocol 'knnn'; did you mean 'knn'?"),
        ("tasks", "[knn@digit]", "line 3: unknown dataset 'digit'; did you mean 'digits'?"),
        ("evaluators", "[calib]", "line 7: unknown evaluator 'calib'"),
        ("evaluators", "[knn]", "A protocol belongs into `tasks`, as knn@DATASET."),
        ("evaluators", "[calibration, calibration]", "evaluator 'calibration' is already listed in line 7"),
        (
            "resources",
            "{cpus_per_trial: 0}",
            "line 7: `resources.cpus_per_trial` must be more than 0, got 0.",
        ),
        (
            "resources",
            "{gpus: 1}",
            "line 7: unknown key 'gpus'. Known here: cpus_per_trial, gpus_per_trial, accelerators, features, "
            "final, protocols.",
        ),
        (
            "resources",
            "{finetune: {gpus: 1}}",
            "line 7: `resources` is given for 'finetune', but no task uses it; remove the line.",
        ),
        (
            "resources",
            "{final: {gpus: .inf}}",
            "line 7: `resources.final.gpus`",
        ),
        (
            "resources",
            "{accelerators: H100}",
            "`resources.accelerators` must be a list, got 'H100' (text); write [H100]",
        ),
        ("resources", "{accelerators: []}", "`resources.accelerators` needs at least one entry, got []"),
        (
            "resources",
            "{accelerators: ['A100,H100']}",
            "`resources.accelerators[0]` must be letters, digits, '.', '_' and '-' only, got 'A100,H100'",
        ),
        (
            "resources",
            "{accelerators: [H100], gpus_per_trial: 0}",
            "line 7: `resources.accelerators` says which GPUs will do, but `resources.gpus_per_trial` is 0",
        ),
        ("max_epochs", "{finetun: 5}", "line 7: unknown protocol 'finetun'; did you mean 'finetune'?"),
        ("max_epochs", "{finetune: 5}", "max_epochs is given for 'finetune', but no task uses it"),
        (
            "max_epochs",
            "{linear_probe: 500}",
            "budget 'quick' allows 30 epochs, but `max_epochs.linear_probe` is 500",
        ),
        ("max_epochs", "{linear_probe: 0}", "`max_epochs.linear_probe` must be at least 1, got 0."),
        ("samplers", "[qmc]", "line 7: unknown key 'samplers'. Known here: name, backbones, tasks"),
        ("name", "no", "line 1: `name` must be text, got no (true or false); quote it: 'no'."),
        ("name", "1_0", "line 1: `name` must be text, got 1_0; quote it: '1_0'."),
        ("on", "1", "line 7: unknown key 'on'. Known here: name, backbones, tasks"),
        ("tasks", "['knn@folder:~nosuchuser/x']", "cannot be used: there is no such user."),
        ("tasks", f"['knn@folder:{300 * 'x'}']", "cannot be used: File name too long."),
        (
            "datasets",
            "{a: {folder: ~nosuchuser/x}}",
            "line 7: dataset 'a': path '~nosuchuser/x' cannot be used",
        ),
        ("datasets", "{a: {folder: x, shifts: 3}}", "line 7: `datasets.a.shifts` must be a list, got 3"),
        ("hparams", "{k: []}", "line 7: `hparams.k` must be a number, got [] (a list)."),
        (
            "evaluators",
            "[calibration: 3]",
            "line 7: evaluator 'calibration' takes a preset or a mapping of settings",
        ),
        ("evaluators", "[calibration: {preset: [1]}]", "line 7: evaluator 'calibration' has no preset [1]"),
        (
            "name",
            "a/b",
            "line 1: `name` must be letters, digits, '.', '_' and '-' only, because it names a folder",
        ),
    ],
)
def test_a_wrong_value_is_reported_with_its_line_and_a_remedy(problems, key, value, message):
    assert any(message in problem for problem in problems(**{key: value}))


def test_a_missing_key_is_reported_with_an_example(problems):
    (problem,) = problems("name: x\nbackbones: [mini_vit.mae]\n")
    assert problem == "line 1: key `tasks` is missing; write for example `tasks: [linear_probe@digits]`."


RECIPE = "{lr: 1.0e-3, weight_decay: 0.05, layer_decay: 0.75, drop_path: 0.1}"


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ("{lr: 0.1, lrr: 0.1}", "finetune has no hyperparameter 'lrr'; did you mean 'lr'?"),
        (
            "{lr: 0.1}",
            "`hparams` of finetune lacks weight_decay, layer_decay, drop_path; a recipe fixes them all.",
        ),
        (RECIPE.replace("0.05", "some"), "`hparams.weight_decay` must be a number, got 'some'."),
        (
            "{}",
            "`hparams` of finetune lacks lr, weight_decay, layer_decay, drop_path; a recipe fixes them all.",
        ),
        (RECIPE.replace("1.0e-3", "-1.0"), "`hparams.lr` must lie between 1e-10 and 10, got -1.0."),
        (RECIPE.replace("1.0e-3", ".nan"), "`hparams.lr` must lie between 1e-10 and 10, got nan."),
        (RECIPE.replace("0.75", ".inf"), "`hparams.layer_decay` must lie between 0.01 and 1, got inf."),
        ("{batch_size: 0.5}", "`hparams.batch_size` must be a whole number from 1, got 0.5."),
        ("{batch_size: 0}", "`hparams.batch_size` must be a whole number from 1, got 0."),
        ("{mixup: much}", "`hparams.mixup` must be a number, got 'much'."),
        ("{erasing: 1.5}", "`hparams.erasing` must lie between 0 and 1, got 1.5."),
        ("{steps: 2.5}", "`hparams.steps` must be a whole number, got 2.5."),
        ("{flip: 1}", "`hparams.flip` must be one of False, True, got 1."),
        ("{head_init: zero}", "`hparams.head_init` must be one of small, xavier, linear_probe, got 'zero'."),
    ],
)
def test_a_recipe_that_does_not_fit_its_protocol_is_refused(problems, hparams, message):
    sentences = problems(tasks="[finetune@digits]", search="{sampler: qmc}", hparams=hparams)
    assert any(message in problem for problem in sentences)


def test_a_recipe_of_a_protocol_without_hyperparameters_may_fix_none(write):
    spec = load_spec(write(tasks="[pretrained_head@digits]", search="{sampler: qmc}", hparams="{}"))
    assert spec.hparams == {}


@pytest.mark.parametrize(("named", "meant"), [("", "single"), (", scales: multi", "multi")])
def test_a_recipe_older_than_a_hyperparameter_gets_its_former_fixed_value(tmp_path, named, meant):
    recipe = (
        "{layer: 0, pooling: cls, gem_power: 3.0, normalisation: l2, distance: dot, query_expansion: 0, "
        f"expansion_power: 3.0, rerank_neighbours: 0{named}}}"
    )
    file = tmp_path / "spec.yaml"
    file.write_text(
        f"name: x\nbackbones: [mini_vit.mae]\ntasks: [retrieval@shapes]\nseeds: [0]\nhparams: {recipe}\n"
    )
    hparams = load_spec(file).hparams
    assert hparams is not None
    assert (hparams["scales"], hparams["pooling"]) == (meant, "cls")


def test_a_recipe_leaves_nothing_to_search(problems):
    (problem,) = problems(tasks="[finetune@digits]", hparams=RECIPE)
    assert problem.startswith("line 4: `hparams` fixes the hyperparameters")


def test_a_spec_survives_json(write):
    spec = load_spec(write())
    assert ExperimentSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("seed", range(200))
def test_a_spec_with_random_changes_is_read_or_refused_with_a_spec_error(write, seed):
    rng = random.Random(seed)
    text = BAD + "max_epochs: {knn: 1}\nresources: {cpus_per_trial: 1}\nhparams: {k: 3}\n"
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice(["", ":", "[", "]", "{", "}", "\n", "- ", " ", "1", "null", "'"])
            + text[at + 1 :]
        )
    try:
        load_spec(write(text))
    except SpecError:
        return  # Anything else that is raised fails the test.


@pytest.mark.parametrize("k", ["1000000000", "0", "-3", "2.5", ".inf", ".nan", "true", "many"])
def test_an_impossible_number_of_neighbours_is_refused(problems, k):
    hparams = f"{{feature_norm: l2, k: {k}, weighting: uniform}}"
    (problem,) = problems(tasks="[knn@digits]", search="{sampler: qmc}", hparams=hparams)
    assert problem.startswith("line 7: `hparams.k` must ")
