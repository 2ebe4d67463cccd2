"""Specs: every experiment with changed text or structure is planned, or refused with a plain sentence."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from raybench.spec import diff, load_spec
from raybench.spec.experiment import ExperimentSpec

from .law import ODD_VALUES, accepted, edited_text, exit_code, fuzzed

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
OWN_ROWS = """\
name: own
backbones:
- {timm: resnet18.a1_in1k, name: mine, kwargs: {in_chans: 3}, params_m: 11, preprocessing: {crop_pct: 0.9}}
- mini_vit.supervised
tasks: [linear_probe@a, knn@digits]
datasets:
  a: {folder: ., splits: {train: train}, val_fraction: 0.2, shifts: {b: {class_map: {x: [y, 1]}, cue: '(x)'}}}
  b: {torchvision: CIFAR10, test_only: true}
  c: {folder: ., queries: {kind: listed, layout: json, file: gnd.json, difficulty: hard, crop: true}}
search: {sampler: tpe, num_trials: 4, early_stopping: asha, seed: 1}
evaluators: [calibration, adversarial: quick, corruption: {preset: quick}]
resources: {cpus_per_trial: 2, gpus_per_trial: 0.5, accelerators: [H100]}
max_epochs: {linear_probe: 5}
"""
TEXTS = [*(file.read_text() for file in EXPERIMENTS), OWN_ROWS]
SNIPPETS = (
    *(":", "[", "]", "{", "}", "\n", "\n  ", "- ", " "),
    *("1", "null", "'", '"', "#", "&a", "*a", "!!int ", "%", "\t"),
    *("no", "on: ", "1:30", "0b_", "1e5a", "2020-99-99", ".inf"),
    *(".nan", "=", "<<: ", "? ", "|\n", ">-\n", "\x00", "\x1b"),
    *('"\\e"', '"\\ud800"', "\u202e", "\ufeff", "~x/y", 300 * "y"),
    *(40 * "[", 40 * "- ", 5000 * "9", "\r", "\x85", "🙂"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("specs")
    for name in ("train/x", "train/y"):
        (path / name).mkdir(parents=True)
    (path / "gnd.json").write_text("{}")
    return path


@st.composite
def changed_structure(draw: st.DrawFn) -> Any:
    """The data of a spec with 1 to 4 values replaced, removed, renamed or nested."""
    data = copy.deepcopy(yaml.safe_load(draw(st.sampled_from(TEXTS))))
    for _ in range(draw(st.integers(1, 4))):
        parents = list(_containers(data))
        parent = draw(st.sampled_from(parents))
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        odd = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        action = draw(st.sampled_from(["replace", "replace", "remove", "rename", "nest", "append"]))
        if action == "replace":
            parent[key] = odd
        elif action == "remove":
            del parent[key]
        elif action == "nest":
            parent[key] = draw(st.sampled_from([[parent[key]], {"a": parent[key]}, {"name": parent[key]}]))
        elif isinstance(parent, list):
            parent.append(odd)
        else:
            parent[odd if isinstance(odd, str | int | float | bool | None) else "odd"] = parent[key]
    return data


def _containers(data: Any) -> Any:
    if isinstance(data, dict | list):
        yield data
        for child in data.values() if isinstance(data, dict) else data:
            yield from _containers(child)


def _require_right(path: Path) -> None:
    """A spec that is read comes back equal from JSON, and counts its pairs."""
    spec = accepted("specs", lambda: load_spec(path, needs_data=False))
    if spec is None:
        return
    assert ExperimentSpec.from_dict(json.loads(json.dumps(spec.to_dict()))).to_dict() == spec.to_dict()
    assert len(spec.pairs()) == len(spec.backbones) * len(spec.tasks) >= 1
    change = diff(spec, spec)
    assert not change.extends
    assert not change.conflicts


@fuzzed(edited_text(TEXTS, SNIPPETS))
def test_a_spec_with_changed_text_is_planned_or_refused(folder, text):
    path = folder / "text.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    if exit_code("plan of changed text", ["plan", str(path)]) == 0:
        _require_right(path)


@fuzzed(changed_structure())
def test_a_spec_with_changed_structure_is_planned_or_refused(folder, data):
    path = folder / "structure.yaml"
    path.write_bytes(yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))
    if exit_code("plan of changed structure", ["plan", str(path)]) == 0:
        _require_right(path)


test_many_specs_with_changed_text = test_a_spec_with_changed_text_is_planned_or_refused.long
test_many_specs_with_changed_structure = test_a_spec_with_changed_structure_is_planned_or_refused.long
