"""Shifted test sets of a dataset in a spec."""

import pytest

from raybench.catalog.class_maps import CLASS_MAPS
from raybench.catalog.datasets import Shift
from raybench.core.errors import SpecError
from raybench.spec import ExperimentSpec, load_spec

SPEC = """
name: small
backbones: [mini_resnet.random]
tasks: [{task}]
datasets:
  photo: {{folder: photo, shifts: {shifts}}}
  sketch: {{folder: sketch, test_only: true}}
budget: smoke
evaluators: [shift]
"""


@pytest.fixture
def read(tmp_path):
    for domain in ("photo", "sketch"):
        (tmp_path / domain / "cat").mkdir(parents=True)

    def read_text(shifts, task="linear_probe@photo"):
        (tmp_path / "s.yaml").write_text(SPEC.format(shifts=shifts, task=task))
        return load_spec(tmp_path / "s.yaml")

    return read_text


def test_shifted_sets_are_resolved_with_their_dataset(read):
    spec = read("[sketch]")
    assert spec.datasets["photo"].shifts == {"sketch": Shift()}
    assert spec.datasets["sketch"].test_only
    assert ExperimentSpec.from_dict(spec.to_dict()) == spec


def test_a_class_map_is_named_or_written_out(read):
    named = read("{sketch: {class_map: imagenet_16}}").datasets["photo"].shifts["sketch"]
    assert dict(named.class_map) == dict(CLASS_MAPS["imagenet_16"])
    written = read("{sketch: {class_map: {cat: [tabby, 3]}, cue: '-([a-z]+)'}}").datasets["photo"]
    assert written.shifts["sketch"] == Shift(class_map={"cat": ("tabby", 3)}, cue="-([a-z]+)")


@pytest.mark.parametrize(
    ("shifts", "sentence"),
    [
        ("[skech]", "unknown dataset 'skech'; did you mean 'sketch'"),
        ("{sketch: {class_map: imagenet_17}}", "unknown class map 'imagenet_17'"),
        ("{sketch: {cue: 'abc'}}", "`cue` needs exactly one group in parentheses"),
        ("{sketch: {cue: '('}}", "`cue` is no regular expression"),
    ],
)
def test_mistakes_are_reported(read, shifts, sentence):
    with pytest.raises(SpecError) as caught:
        read(shifts)
    assert sentence in str(caught.value)


def test_a_task_on_a_test_only_dataset_is_refused(read):
    with pytest.raises(SpecError, match="dataset 'sketch' is test-only"):
        read("[sketch]", task="linear_probe@sketch")
