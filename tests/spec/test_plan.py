"""A plan counts what a run would do, and reads no image and no weight."""

import pytest

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.spec import load_spec, make_plan
from raybench.spec.plan_cost import count_images


@pytest.fixture
def plan(write):
    return lambda **lines: make_plan(load_spec(write(**lines)))


def test_trials_are_counted_by_hand(plan):
    # 2 backbones × (linear probe: 4 search + 2 final; kNN: 3 choices there are, not 4, + 2 final).
    made = plan()
    assert len(made.pairs) == 4
    assert (made.search_trials, made.final_trials) == (2 * (4 + 3), 2 * (2 + 2))


def test_features_are_extracted_once_per_backbone_and_dataset(plan):
    assert plan().feature_passes == 2
    assert plan(tasks="[linear_probe@digits, knn@shapes]").feature_passes == 4
    assert plan(tasks="[finetune@digits]").feature_passes == 0


def test_a_recipe_has_no_search(plan):
    made = plan(
        tasks="[knn@digits]", search="{sampler: qmc}", hparams="{feature_norm: l2, k: 5, weighting: uniform}"
    )
    assert (made.search_trials, made.final_trials) == (0, 4)
    assert any(note.startswith("recipe: ") for note in made.notes)


@pytest.mark.parametrize("search", ["{num_trials: 4, early_stopping: asha}"])
def test_order_dependence_is_noted_with_a_remedy(plan, search):
    (note,) = [note for note in plan(search=search).notes if "order-dependent" in note]
    assert "so two runs are not bit-reproducible; for that use `early_stopping: none`" in note


def test_a_deterministic_search_has_no_note_on_order(plan):
    assert not any("order-dependent" in note for note in plan().notes)


def test_twice_the_epochs_cost_twice_the_finetuning(plan):
    lines = {"tasks": "[finetune@digits]"}
    short, long = plan(max_epochs="{finetune: 5}", **lines), plan(max_epochs="{finetune: 10}", **lines)
    assert short.finetune_flops is not None
    assert long.finetune_flops == pytest.approx(2 * short.finetune_flops)


def test_the_estimate_is_near_the_published_count_of_a_resnet(plan):
    # ResNet-50 at 224 pixels takes 4.1 G multiply-adds, 8.2 GFLOP (He et al. count 3.8 G for v1).
    made = plan(backbones="[resnet50.a1_in1k]", tasks="[knn@cifar10]")
    assert made.forward_flops == pytest.approx(60_000 * 8.2e9, rel=0.1)


def test_images_of_a_folder_are_counted(plan, tmp_path):
    for split, num in (("train", 3), ("val", 2)):
        (tmp_path / "photos" / split / "cat").mkdir(parents=True)
        for i in range(num):
            (tmp_path / "photos" / split / "cat" / f"{i}.png").touch()
    info = DatasetInfo(
        name="own",
        source=FolderSource(str(tmp_path / "photos")),
        splits={"train": "train", "val": "val"},
    )
    assert count_images(info) == 5


def test_backbones_and_datasets_of_unknown_size_are_listed(plan):
    made = plan(tasks="[knn@own]", datasets="{own: {huggingface: org/name}}")
    assert made.forward_flops is None
    assert made.unknown_costs == ["own"]
    assert "of unknown size" in made.render()


def test_the_text_names_pairs_trials_passes_and_cost(plan):
    text = plan(search="{num_trials: 4, early_stopping: asha}").render()
    assert "2 backbones × 2 tasks = 4 pairs" in text
    assert "14 search + 8 final = 22" in text
    assert "feature passes  2" in text
    assert "rough" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ("{}", "linear_probe, knn: 1 CPUs + 0.125 GPUs (GPUs where there are any)"),
        ("{gpus_per_trial: 0.5}", "linear_probe, knn: 1 CPUs + 0.5 GPUs"),
        ("{gpus_per_trial: 0}", "linear_probe, knn: 1 CPUs + 0 GPUs"),
        ("{accelerators: [A100, H100]}", "linear_probe, knn: 1 CPUs + 0.125 GPUs (A100 or H100 only)"),
    ],
)
def test_the_text_states_the_resources_of_a_trial(plan, resources, says):
    assert f"each trial      {says}\n" in plan(resources=resources).render()
