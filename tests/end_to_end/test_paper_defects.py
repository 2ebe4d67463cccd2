"""Defects of the code released with Goldblum et al. 2023, and the tests that raybench does not have them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from raybench.backbones.checkpoint import checkpoint_path
from raybench.backbones.loading import checkpoint_digest, load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.catalog.search_spaces import defaults
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import SplitLockedError
from raybench.core.records import Pair, Task, TrialRecord, TrialRequest
from raybench.core.registry import load_entry_point
from raybench.data.loading import load_dataset
from raybench.evaluation.contracts import TrialContext
from raybench.features import process_cache
from raybench.features.store import FeatureStore
from raybench.spec import ExperimentSpec, load_spec
from raybench.store import ledger
from raybench.store.measurements import read_measurements
from raybench.tuning.study import PairStudy, StudyPlan
from raybench.worker import trial
from raybench.worker.trial import Trial

torch.set_num_threads(1)
TESTS = Path(__file__).parents[1]
HERE = "end_to_end/test_paper_defects.py"
DEFECTS = {
    "1. The detectors with plain ViTs for OOD detection are trained by SGD, at the rate meant for AdamW.": [
        "evaluation/finetune/test_optimizer.py::test_steps_are_adamws_with_clipped_gradients",
        "evaluation/test_linear_probe.py::test_heads_are_those_of_torchs_optimisers",
    ],
    "2. Two backbones are retrieved by the outputs of a 1000-class head, one of them randomly initialised.": [
        "backbones/test_checkpoint.py::test_features_are_never_the_output_of_a_head",
        "backbones/test_checkpoint.py::test_a_second_head_under_another_name_is_refused",
        "backbones/test_checkpoint.py::test_a_missing_weight_is_named",
        "backbones/test_loading.py::test_timms_weights_are_loaded_and_their_head_is_dropped",
    ],
    "3. One ViT is built with 12 attention heads for one task and 6 for others; the shapes match.": [
        f"{HERE}::test_another_number_of_attention_heads_is_another_backbone",
    ],
    "4. The linear probe moves the batch-norm statistics of the frozen network.": [
        "backbones/test_backbone.py::test_training_a_head_on_a_frozen_backbone_does_not_move_batch_statistics",
        "features/test_extraction.py::test_extraction_restores_a_backbone_in_training_mode",
        f"{HERE}::test_every_trial_on_frozen_features_leaves_the_weights_and_features_as_they_were",
    ],
    "5. The linear probe takes the class token and so crashes for networks without one.": [
        "backbones/test_feature_spec.py::test_without_a_class_token_tokens_are_averaged",
        "contracts/test_backbones.py::test_features_have_the_stated_width_and_earlier_layers_are_available",
        "contracts/test_protocols.py::test_it_learns",
    ],
    "6. Backbones get ImageNet's mean and deviation, whatever they were pretrained with.": [
        "backbones/test_backbone.py::test_each_backbone_normalises_with_its_own_values",
        "contracts/test_backbones.py::test_preprocessing_is_that_of_timms_config",
    ],
    "7. The reciprocal rank counts junk images and queries without positives; other metrics do not.": [
        "evaluation/retrieval/test_ranks.py::test_ranks_equal_a_full_sort_with_ties_and_junk",
        "evaluation/retrieval/test_query_gallery.py::test_listed_positives_are_asked_for_and_junk_is_passed_over",
        "metrics/test_retrieval.py::test_a_query_without_positives_is_counted_and_left_out",
    ],
    "8. Different checkpoints are reported under one label.": [
        "backbones/test_checkpoint.py::test_two_checkpoints_under_one_name_have_different_digests",
        "backbones/test_checkpoint.py::test_averaged_and_raw_weights_in_one_file_are_refused",
        f"{HERE}::test_a_weight_file_that_changed_under_its_name_is_refused",
    ],
    "9. Backbones are compared under recipes that differ.": [
        f"{HERE}::test_all_backbones_are_searched_in_the_same_space",
    ],
    "10. Hyperparameters and epochs are chosen on the reported split, with one seed.": [
        "contracts/test_protocols.py::test_during_a_search_it_cannot_read_test",
        "contracts/test_protocols.py::test_in_the_final_stage_it_chooses_nothing_on_test",
        f"{HERE}::test_what_a_search_finds_does_not_depend_on_test",
    ],
    "11. Configurations of pretrained backbones say `pretrained: false`.": [
        "backbones/test_loading.py::test_an_architecture_without_weights_is_not_passed_off_as_pretrained",
        "backbones/test_loading.py::test_kwargs_cannot_switch_pretraining_off",
        f"{HERE}::test_a_twin_is_random_by_name_only",
    ],
    "12. The number of labels per class is ignored for most datasets.": [
        "data/test_loading.py::test_few_shots_cap_train_and_val_and_leave_test_alone",
        "spec/test_tasks.py::test_a_few_shot_version_of_a_torchvision_dataset_has_the_rows_splits",
    ],
}
"""Defect → tests, as `file::function`."""
SPEC = """
name: defects
backbones: [BACKBONE]
tasks: [knn@stripes, linear_probe@stripes, finetune@stripes]
datasets: {stripes: {folder: stripes}}
search: {num_trials: 2}
budget: smoke
"""


def draw(folder: Path, count: int, seed: int, *, are_labels_swapped: bool = False) -> None:
    """Vertical and horizontal stripes with noise, 32 pixels; swapped labels make every right answer wrong."""
    rng = np.random.default_rng(seed)
    stripes = (np.arange(32) // 4 % 2 * 200)[None, :, None]
    for name in ("horizontal", "vertical"):
        label = {"horizontal": "vertical", "vertical": "horizontal"}[name] if are_labels_swapped else name
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = stripes if name == "vertical" else stripes.transpose(1, 0, 2)
            pixels = (image + rng.integers(0, 56, (32, 32, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_its_tests(defect):
    for name in DEFECTS[defect]:
        file, _, function = name.partition("::")
        assert f"def {function}(" in (TESTS / file).read_text(encoding="utf-8"), name


def test_all_twelve_defects_are_listed():
    assert [int(defect.partition(".")[0]) for defect in DEFECTS] == list(range(1, 13))


def test_another_number_of_attention_heads_is_another_backbone():
    """Defect 3: the digest tells them apart, and all protocols load by the same row."""
    info = find_backbone("mini_vit.supervised")
    other = replace(info, kwargs={**info.kwargs, "num_heads": 2})
    assert checkpoint_digest(other) != checkpoint_digest(info)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = [load_backbone(one)(pixels) for one in (info, other)]
    assert features[0].shape == features[1].shape
    assert not torch.allclose(*features)


@pytest.mark.parametrize("protocol", [name for name, info in PROTOCOLS.items() if info.space])
def test_all_backbones_are_searched_in_the_same_space(protocol):
    """Defect 9: as many trials of the same hyperparameters for every backbone, from the same first one."""
    requests = []
    for backbone in ("mini_resnet.supervised", "mini_vit.random"):
        plan = StudyPlan(
            experiment="defects",
            space=PROTOCOLS[protocol].space_within(5),
            objective=PROTOCOLS[protocol].objective,
            sampler="qmc",
            num_trials=6,
            search_seed=0,
            seeds=(0,),
            max_epochs=5,
            needs_features=False,
        )
        study = PairStudy(Pair(backbone=backbone, task=Task(protocol, "digits")), plan)
        trials = filter(None, (study.next_request() for _ in range(6)))
        requests.append(list(trials))
    one, other = requests
    assert len(one) == len(other) > 1
    assert one[0].hparams == other[0].hparams
    for first, second in zip(one, other, strict=True):
        assert set(first.hparams) == set(second.hparams) == set(PROTOCOLS[protocol].space)
        assert (first.seed, first.max_epochs) == (second.seed, second.max_epochs)


SEARCHED = [name for name, info in PROTOCOLS.items() if info.space]
"""Protocols that choose something."""


@pytest.fixture
def make_spec(tmp_path: Path) -> Callable[..., ExperimentSpec]:
    """`make_spec(name, are_labels_swapped=…)`: the same train and val, test labels right or swapped."""

    def make(name: str, *, are_labels_swapped: bool = False) -> ExperimentSpec:
        folder = tmp_path / name
        draw(folder / "stripes" / "train", 12, seed=0)
        draw(folder / "stripes" / "test", 6, seed=1, are_labels_swapped=are_labels_swapped)
        info = find_backbone("mini_resnet.supervised")
        (folder / "weights.safetensors").write_bytes(checkpoint_path(info).read_bytes())
        row = {
            "name": "small",
            "timm": info.timm,
            "checkpoint": "weights.safetensors",
            "kwargs": dict(info.kwargs),
            "preprocessing": dict(info.preprocessing),
        }
        path = folder / "spec.yaml"
        path.write_text(SPEC.replace("BACKBONE", json.dumps(row)))
        return load_spec(path)

    return make


def carry_out(
    spec: ExperimentSpec, storage: Path, stage: str = "search", protocol: str = "knn", **changes: object
) -> TrialRecord:
    """The record of one trial with the protocol's default hyperparameters."""
    hparams = {} if stage == "features" else defaults(PROTOCOLS[protocol].space_within(1))
    request = TrialRequest(
        experiment=spec.name,
        pair=Pair(backbone="small", task=Task(protocol, "stripes")),
        stage=stage,
        index=0,
        hparams={**hparams, **changes},
        seed=0,
        max_epochs=1,
    )
    subject = Trial(request, spec, storage, device="cpu", num_threads=1)
    while not subject.step().is_done:
        pass
    return ledger.read_record(storage, spec.name, request.trial_id)


def without_clock(record: TrialRecord) -> TrialRecord:
    return replace(record, wall_seconds=0.0, started_at=0.0)


def splits_in(storage: Path) -> set[str]:
    return {entry.manifest["split"] for entry in FeatureStore(storage / "features").entries()}


@pytest.mark.parametrize("protocol", SEARCHED)
def test_what_a_search_finds_does_not_depend_on_test(make_spec, tmp_path, protocol):
    """Defect 10: with test labels turned into their opposite, the search is the same to the last bit."""
    found = []
    for is_swapped in (False, True):
        spec = make_spec(f"swapped_{is_swapped}", are_labels_swapped=is_swapped)
        found.append(carry_out(spec, tmp_path / f"storage_{is_swapped}", protocol=protocol))
    assert found[0].status == "completed", found[0].reason
    assert without_clock(found[0]) == without_clock(found[1])
    assert not found[0].is_measured_on_test


def test_the_final_stage_would_have_seen_the_difference(make_spec, tmp_path):
    """The test above means something: the two test splits are as different as can be."""
    right, wrong = (
        carry_out(
            make_spec(f"{is_swapped}", are_labels_swapped=is_swapped), tmp_path / f"s{is_swapped}", "final"
        )
        for is_swapped in (False, True)
    )
    assert right.chosen == wrong.chosen
    assert right.by_key["val/accuracy"] == wrong.by_key["val/accuracy"]
    assert right.by_key["test/accuracy"] > 0.9
    assert wrong.by_key["test/accuracy"] < 0.1


def test_no_feature_of_test_exists_before_the_final_stage(make_spec, tmp_path):
    spec = make_spec("one")
    storage = tmp_path / "storage"
    carry_out(spec, storage, "features")
    for protocol in SEARCHED:
        carry_out(spec, storage, "search", protocol)
    assert splits_in(storage) == {"train", "val"}
    assert not (storage / "measurements").exists()
    carry_out(spec, storage, "final")
    assert splits_in(storage) == {"train", "val", "test"}


@pytest.mark.parametrize("protocol", SEARCHED)
def test_a_protocol_that_asks_for_test_while_searching_is_refused(make_spec, tmp_path, protocol):
    spec = make_spec("one")
    context = TrialContext(
        backbone_info=spec.backbone("small"),
        dataset=load_dataset(spec.datasets["stripes"]),
        store=FeatureStore(tmp_path / "features"),
        device=torch.device("cpu"),
        checkpoint_dir=tmp_path / "checkpoints",
    )
    run = load_entry_point(PROTOCOLS[protocol].entry_point)(
        context, defaults(PROTOCOLS[protocol].space_within(1)), 0, 1
    )
    assert list(run.run_epochs())
    assert run.report("val").num_examples > 0
    with pytest.raises(SplitLockedError, match="the test split of 'stripes' is locked"):
        run.report("test")


def test_a_search_trial_that_reads_test_fails_with_the_lock_as_its_reason(make_spec, tmp_path, monkeypatch):
    def peeking(context, hparams, seed, max_epochs):
        context.dataset.split("test")

    monkeypatch.setattr(trial, "load_entry_point", lambda address: peeking)
    record = carry_out(make_spec("one"), tmp_path / "storage")
    assert record.status == "failed"
    assert record.reason.startswith("SplitLockedError: the test split of 'stripes' is locked")


def test_every_trial_on_frozen_features_leaves_the_weights_and_features_as_they_were(make_spec, tmp_path):
    """Defect 4: the probe reads stored features of a frozen network; nothing it does can move them."""
    spec, storage = make_spec("one"), tmp_path / "storage"
    carry_out(spec, storage, "features")
    files = sorted((storage / "features").glob("*/features.npy"))
    before = [file.read_bytes() for file in files]
    for solver in ("sgd", "adamw", "lbfgs"):
        assert carry_out(spec, storage, "search", "linear_probe", solver=solver).status == "completed"
    carry_out(spec, storage, "search", "finetune")  # Trains a copy of its own.
    assert [file.read_bytes() for file in files] == before
    again = tmp_path / "again"
    carry_out(spec, again, "features")
    assert [file.read_bytes() for file in sorted((again / "features").glob("*/features.npy"))] == before


def test_a_weight_file_that_changed_under_its_name_is_refused(make_spec, tmp_path):
    """Defect 8: one label never stands for two checkpoints, even if the file is overwritten meanwhile."""
    spec, storage = make_spec("one"), tmp_path / "storage"
    assert carry_out(spec, storage, "final").status == "completed"
    path = Path(spec.backbone("small").checkpoint)
    state = load_file(path)
    first = next(key for key, value in state.items() if value.is_floating_point())
    state[first] = state[first] + 0.5
    save_file(state, path)
    process_cache._load_dataset.cache_clear()
    record = carry_out(spec, storage, "final", k=1, weighting="uniform")
    assert record.status == "failed"
    assert "backbone 'small' has changed since experiment 'defects' began" in record.reason
    assert "give the changed one a name of its own" in record.reason
    assert read_measurements(storage)["trial_id"].n_unique() == 1


def test_images_that_changed_under_a_datasets_name_are_refused(make_spec, tmp_path):
    spec, storage = make_spec("one"), tmp_path / "storage"
    assert carry_out(spec, storage).status == "completed"
    draw(Path(spec.datasets["stripes"].source.location) / "train", 13, seed=5)
    process_cache._load_dataset.cache_clear()
    record = carry_out(spec, storage, protocol="linear_probe")
    assert "dataset 'stripes' has changed since experiment 'defects' began" in record.reason


def test_an_unchanged_copy_of_the_weights_is_the_same_backbone(make_spec, tmp_path):
    storage = tmp_path / "storage"
    for name in ("one", "other"):
        assert carry_out(make_spec(name), storage, "final").status == "completed"


def test_a_twin_is_random_by_name_only(make_spec):
    """Defect 11: what is not pretrained says so in its name, its method and its pretraining data."""
    spec = make_spec("one")
    assert spec.backbone("small").weights == "file"
    twin = find_backbone("resnet18.random")
    assert (twin.weights, twin.method, twin.pretrain_data, twin.pretrain_images) == (
        "random",
        "none",
        "none",
        0,
    )
