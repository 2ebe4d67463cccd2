"""`raybench cost`: every backbone is measured once, and failures are reported by name."""

import json

import pytest
import torch

from raybench.cli import main
from raybench.core.errors import EmptyInputError, ResourceError
from raybench.experiment.cost import choose_device, measure_costs
from raybench.spec import load_spec
from raybench.store import layout, ledger
from raybench.store.inference_costs import read_costs

SPEC = """
name: tiny
backbones: [mini_vit.random, mini_resnet.random]
tasks: [knn@digits]
search: {num_trials: 1}
budget: quick
seeds: [0]
"""


@pytest.fixture
def storage(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SPEC)
    ledger.save_spec(tmp_path / "storage", "tiny", load_spec(tmp_path / "tiny.yaml").to_dict())
    return tmp_path / "storage"


def test_every_backbone_of_the_experiment_is_measured_once(storage, capsys):
    command = ["cost", str(storage), "--device", "cpu", "--batch-size", "2"]
    assert main(command) == 0
    costs = read_costs(storage)
    assert [cost.backbone for cost in costs] == ["mini_resnet.random", "mini_vit.random"]
    assert {cost.batch_size for cost in costs} == {2}
    assert "images/s" in capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out.count("measured before") == 2
    assert read_costs(storage) == costs
    assert main([*command, "--again"]) == 0
    assert read_costs(storage) != costs


def test_a_backbone_without_weights_fails_and_the_others_are_measured(storage, tmp_path):
    path = layout.experiment_dir(storage, "tiny") / "spec.json"
    content = json.loads(path.read_text())
    broken = {**content["backbones"][0], "name": "broken", "weights": "file", "checkpoint": "/nowhere"}
    del content["checksum"]
    path.write_text(json.dumps({**content, "backbones": [broken, *content["backbones"]]}))
    results = []
    failures = measure_costs(
        storage,
        experiment=None,
        device=torch.device("cpu"),
        batch_size=1,
        dtype="float32",
        again=False,
        on_result=lambda *result: results.append(result),
    )
    assert list(failures) == ["broken"]
    assert "no weight file" in failures["broken"]
    assert len(read_costs(storage)) == 2
    assert [backbone for backbone, _, _ in results] == ["broken", "mini_resnet.random", "mini_vit.random"]


def test_a_storage_without_experiment_is_refused(tmp_path):
    arguments = {"device": torch.device("cpu"), "batch_size": 1, "dtype": "float32", "again": False}
    with pytest.raises(EmptyInputError, match="no experiment 'absent'"):
        measure_costs(tmp_path, experiment="absent", on_result=print, **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_refused():
    with pytest.raises(ResourceError, match="no GPU"):
        choose_device("cuda")
    assert choose_device("auto") == torch.device("cpu")
