"""Queries, presets and datasets without their files, in specs and plans."""

import json

import pytest

from raybench.catalog.retrieval import PRESETS
from raybench.spec import load_spec, make_plan

RETRIEVAL = "[retrieval@own]"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos/jay").mkdir(parents=True)
    (tmp_path / "photos/gnd.json").write_text(json.dumps({"imlist": [], "qimlist": [], "gnd": []}))
    (tmp_path / "noise").mkdir()
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def own(entry):
    return f"{{own: {{folder: photos, {entry}}}}}"


def test_first_images_of_a_class_can_be_queries(write, photos):
    spec = load_spec(write(tasks=RETRIEVAL, datasets=own("queries: {kind: first, max_per_class: 50}")))
    queries = spec.datasets["own"].queries
    assert (queries.kind, queries.fraction, queries.max_per_class) == ("first", 0.2, 50)
    assert spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_queries_can_be_leave_one_out(write, photos):
    spec = load_spec(write(tasks="[retrieval@own, knn@own]", datasets=own("queries: {kind: rest}")))
    assert spec.datasets["own"].queries.kind == "rest"


def test_paths_of_listed_queries_are_relative_to_the_spec(write, photos):
    entry = "queries: {kind: listed, difficulty: hard, crop: true, distractors: noise}"
    queries = load_spec(write(tasks=RETRIEVAL, datasets=own(entry))).datasets["own"].queries
    assert (queries.difficulty, queries.crop, queries.distractors) == (
        "hard",
        True,
        str(photos.parent / "noise"),
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("queries: {kind: frist}", "must be one of rest, first, listed, got 'frist'; did you mean 'first'?"),
        ("queries: {fraction: 0.2}", "`datasets.own.queries.kind` is missing"),
        (
            "queries: {kind: first, crop: true}",
            "`queries.crop` means nothing to kind 'first', which has kind,",
        ),
        ("queries: {kind: rest, file: x}", "`queries.file` means nothing to kind 'rest'"),
        ("queries: {kind: first, fraction: 1.0}", "`datasets.own.queries.fraction` must be less than 1"),
        ("queries: {kind: first, shars: instance}", "unknown key 'shars'; did you mean 'shares'?"),
        ("queries: {kind: first}, examples_per_class: 5", "`examples_per_class` is for classifiers"),
        ("queries: {kind: first}, val_fraction: 0", "`val_fraction: 0` is for listed queries only"),
        ("val_fraction: 0", "`val_fraction` must be more than 0; val is needed"),
        ("queries: {kind: listed, file: truth.json}", "there is no list of queries"),
        ("queries: {kind: listed, distractors: nosie}", "there is no folder of distractors"),
    ],
)
def test_contradictory_queries_are_refused(problems, photos, entry, message):
    assert any(message in problem for problem in problems(tasks=RETRIEVAL, datasets=own(entry)))


def test_a_folder_with_splits_cannot_be_divided_by_first(problems, photos):
    for name in ("train", "test"):
        (photos / name / "jay").mkdir(parents=True)
    reported = problems(tasks=RETRIEVAL, datasets=own("queries: {kind: first}"))
    assert any(
        "has folders for train, test, but kind 'first' divides a set without splits" in p for p in reported
    )


def test_a_divided_dataset_is_not_for_classifiers(problems, photos):
    reported = problems(tasks="[knn@own]", datasets=own("queries: {kind: first}"))
    assert any("divided into queries and gallery, which knn cannot use" in problem for problem in reported)


def test_a_preset_fixes_the_hyperparameters_and_searches_nothing(write, photos):
    lines = {"tasks": RETRIEVAL, "datasets": own("val_fraction: 0.1"), "search": "{}", "preset": "paper"}
    spec = load_spec(write(**lines))
    assert spec.hparams == dict(PRESETS["paper"])
    plan = make_plan(spec)
    assert (plan.search_trials, plan.final_trials) == (0, 4)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"preset": "papr"}, "retrieval has no preset 'papr'; did you mean 'paper'? It has paper."),
        ({"preset": "paper", "tasks": "[knn@digits]"}, "knn has no preset 'paper'. It has none."),
        (
            {"preset": "paper", "tasks": "[knn@digits, retrieval@digits]"},
            "the tasks have knn, retrieval; write one spec for each",
        ),
        ({"preset": "paper", "search": "{num_trials: 2}"}, "so there is nothing to search"),
        ({"preset": "paper", "hparams": "{layer: 0}"}, "`preset` and `hparams` both fix"),
        ({"preset": "[paper]"}, "`preset` must be text"),
    ],
)
def test_an_invalid_preset_is_refused(problems, lines, message):
    reported = problems(**{"tasks": "[retrieval@digits]", "search": "{}", **lines})
    assert any(message in problem for problem in reported), reported


def test_a_search_without_val_queries_is_refused(problems, photos):
    entry = own("queries: {kind: listed}, val_fraction: 0")
    reported = problems(tasks=RETRIEVAL, datasets=entry)
    assert any("so nothing can be chosen by them; add `preset: paper`" in problem for problem in reported)


def test_a_row_with_steps_lies_in_the_data_folder(write, data):
    folder = data / "cub200/images/jay"
    folder.mkdir(parents=True)
    spec = load_spec(write(tasks="[retrieval@cub200]"))
    assert spec.datasets["cub200"].source.location == str(folder.parent)


def test_a_row_without_files_is_refused_by_run_and_noted_by_plan(problems, write, data):
    lines = {"tasks": "[retrieval@cub200, retrieval@roxford5k_hard_1m]", "search": "{}", "preset": "paper"}
    reported = problems(**lines)
    assert any(
        f"'cub200' is not in {str(data / 'cub200/images')!r}. Unpack CUB_200_2011.tgz" in p for p in reported
    )
    assert any("convert it once" in problem and "revisitop1m" in problem for problem in reported)
    notes = make_plan(load_spec(write(**lines), needs_data=False)).notes
    assert any("dataset 'cub200' is not in" in note for note in notes)


def test_a_row_without_its_distractors_is_missing(write, data):
    (data / "roxford5k").mkdir(parents=True)
    (data / "roxford5k/gnd.json").write_text("{}")
    lines = {"tasks": "[retrieval@roxford5k_hard, retrieval@roxford5k_hard_1m]", "search": "{}"}
    notes = make_plan(load_spec(write(**lines, preset="paper"), needs_data=False)).notes
    assert ["roxford5k_hard_1m" in note for note in notes if "is not in" in note] == [True]
