import pytest

from raybench.core.records import Pair, Task, metric_values
from raybench.tracking.parent_runs import current_final, pair_content, summary_content
from raybench.tracking.run_content import Labels

LABELS = Labels(experiment="demo", storage_id="s1")
PAIR = Pair(backbone="mini_vit.supervised", task=Task("linear_probe", "digits"))


def numbers(records):
    return {point.key: point.value for point in pair_content(PAIR, records, LABELS, {}).points}


def test_final_numbers_are_means_over_seeds(pair_records):
    values = numbers(pair_records(PAIR.backbone, num_search=3, num_seeds=2))
    assert values["test/accuracy"] == pytest.approx(0.805)
    assert values["std/test/accuracy"] == pytest.approx(0.01 / 2**0.5)
    assert (values["num_trials"], values["num_seeds"], values["wall_seconds"]) == (3, 2, 10)


def test_one_seed_has_no_spread(pair_records):
    assert not any(key.startswith("std/") for key in numbers(pair_records(PAIR.backbone, num_seeds=1)))


def test_the_gain_is_the_best_search_trial_minus_the_default_trial(record):
    search = [
        record(index=index, values=metric_values({"val/accuracy": value}))
        for index, value in enumerate((0.6, 0.75, 0.5))
    ]
    assert numbers(search)["gain_over_default"] == pytest.approx(0.15)


def test_without_the_default_trial_there_is_no_gain(record):
    failed = record(status="failed", values=(), reason="x")
    assert "gain_over_default" not in numbers([failed, record(index=1)])


def test_final_trials_of_an_earlier_winner_are_excluded(record):
    old = [record(stage="final", index=seed, hparams={"lr": 1.0}) for seed in (0, 1)]
    new = [record(stage="final", index=seed, hparams={"lr": 2.0}, started_at=1.8e9) for seed in (0, 1)]
    assert current_final([*new, *old]) == new
    tags = pair_content(PAIR, [*old, *new], LABELS, {}).tags
    assert tags["best.lr"] == "2.0"


@pytest.mark.parametrize(
    ("stages", "status", "word"),
    [
        (["search", "final"], "FINISHED", "completed"),
        (["search"], "KILLED", "interrupted"),
        (["search:failed"], "FAILED", "failed"),
        (["search", "final:failed"], "FAILED", "failed"),
        (["features:failed"], "FAILED", "failed"),
    ],
)
def test_a_pair_is_measured_failed_or_interrupted(record, stages, status, word):
    records = []
    for stage, _, failed in (text.partition(":") for text in stages):
        outcome = {"status": "failed", "reason": f"{stage} broke", "values": ()} if failed else {}
        records.append(record(stage=stage, **outcome))
    content = pair_content(PAIR, records, LABELS, {})
    assert (content.status, content.tags["raybench.status"]) == (status, word)
    assert content.tags.get("raybench.reason") == (records[-1].reason or None if status == "FAILED" else None)


def test_the_parent_shows_the_best_trials_grid_its_recipe_and_the_dataset(pair_records):
    content = pair_content(PAIR, pair_records(PAIR.backbone), LABELS, {"recipe.yaml": "name: x\n"})
    assert set(content.files) == {"grid.csv", "recipe.yaml"}
    assert content.dataset == ("digits", "f1")


def test_upper_bounds_are_named_in_the_description(record):
    attacked = {
        "test/accuracy": 0.9,
        "test/robust_accuracy/linf_pgd(eps=1/255)": 0.2,
        "test/no_such_metric": 1,
    }
    content = pair_content(PAIR, [record(stage="final", values=metric_values(attacked))], LABELS, {})
    assert content.tags["mlflow.note.content"] == "`robust_accuracy`: upper bound"
    plain = pair_content(PAIR, [record(stage="final")], LABELS, {})
    assert "mlflow.note.content" not in plain.tags


def test_the_ranking_is_the_description_of_the_summary():
    content = summary_content({"ranking.csv": "a\n", "ranking.md": "| a |"}, LABELS, at=1.7e9)
    assert content.tags["mlflow.note.content"] == "| a |"
    assert content.start == 1_700_000_000_000
