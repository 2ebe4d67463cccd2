"""Datasets without one class per image: loaded, split and fingerprinted like any other."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import FunctionSource
from raybench.data import loading
from raybench.data.loading import load_dataset
from raybench.data.shape_scenes import CLASS_NAMES, generate
from raybench.data.source import SourceData, SourceSplit

SCENES = generate(0, 60)
LABELS = np.stack([(SCENES.object_labels == c).any(axis=1) for c in range(len(CLASS_NAMES))], axis=1)
"""Of each scene all classes in it, multi-hot [60, 10]."""
TARGETS = {"labels": LABELS, "pixels": SCENES.instance_map, "depth": SCENES.instance_map / 4}


@pytest.fixture(params=TARGETS)
def info(request, tmp_path, monkeypatch):
    """A dataset of scenes with another annotation than classes, read by a function outside raybench."""
    names = CLASS_NAMES if request.param == "labels" else ()

    def read(source, splits, name):
        split = SourceSplit(
            ids=[f"{i:02d}" for i in range(60)],
            targets=TARGETS[request.param],
            read=lambda i: SCENES.images[i],
            signature="",
        )
        return SourceData(class_names=names, splits={"train": split})

    module = ModuleType("package_with_scenes")
    module.read = read
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = FunctionSource("package_with_scenes:read")
    info = DatasetInfo(name="scenes", source=source, annotation=request.param)
    monkeypatch.setattr(loading, "DATASETS", {info.name: info})
    return info


def test_splits_are_carved_from_all_images_and_targets_stay_with_them(info):
    dataset = load_dataset(info).unlocked()
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [38, 10, 12]
    for name in ("train", "val", "test"):
        examples = dataset.split(name)
        np.testing.assert_array_equal(examples.targets, TARGETS[info.annotation][examples.positions])


def test_the_fingerprint_is_deterministic_and_depends_on_every_target(info):
    val = load_dataset(info).val
    assert val.fingerprint == load_dataset(info).val.fingerprint
    changed = val.take(np.arange(len(val)))
    changed.targets[3].flat[-1] = 1 - changed.targets[3].flat[-1]
    assert changed.fingerprint != val.fingerprint


def test_test_only_sets_need_no_classes_either(info):
    dataset = load_dataset(replace(info, test_only=True)).unlocked()
    assert dataset.test.targets.shape == TARGETS[info.annotation].shape
