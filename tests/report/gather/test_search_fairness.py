"""Notes on backbones that were not searched alike."""

from raybench.report.gather.search_fairness import unequal_searches

BACKBONES = [{"name": "a"}, {"name": "b"}]


def spec(name: str = "one", num_trials: int = 4, **rest) -> dict:
    tasks = ["knn@digits", "finetune@digits"]
    return {
        "name": name,
        "backbones": BACKBONES,
        "tasks": tasks,
        "search": {"num_trials": num_trials},
        **rest,
    }


def entry(backbones: list[str] | None) -> dict:
    return {"protocol": "finetune", "backbones": backbones, "space": {"lr": {}, "flip": {}}}


def test_equal_searches_need_no_note():
    for spaces in ([], [entry(None)], [entry(["b", "a"])]):
        assert unequal_searches([spec(spaces=spaces), spec("two")]) == []


def test_a_space_of_some_backbones_is_named():
    [note] = unequal_searches([spec(spaces=[entry(["b"])])])
    assert note == (
        "Not every backbone was searched over the same space: b had another lr, flip in finetune "
        "(experiment one)."
    )


def test_searches_of_different_length_are_named_per_protocol():
    notes = unequal_searches([spec(), spec("two", 8), spec("recipe", 99, hparams={"k": 1})])
    assert notes == [
        f"Not every backbone was searched equally long in {protocol}: 4 trials in one, 8 trials in two."
        for protocol in ("finetune", "knn")
    ]
