"""Nothing that is read can run code: files made to do so are refused, and no code path is left that would."""

import ast
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import raybench
from raybench.backbones.state_dict_file import read_state_dict
from raybench.core.errors import CheckpointError, SpecError, StorageError
from raybench.evaluation.finetune.checkpoint import BEST, load_best
from raybench.spec import load_spec
from raybench.store.artifacts import per_query_of

PACKAGE = Path(raybench.__file__).parent
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "marshal.loads", "marshal.load"),
    *("pickle.load", "pickle.loads", "cloudpickle.load", "cloudpickle.loads", "dill.load", "joblib.load"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load", "torch.jit.load"),
    *("shelve.open", "pandas.read_pickle", "torch.package.PackageImporter"),
}


class RunsCode:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path):
    """The folder that an attack makes; after the test it must not be there."""
    made = tmp_path / "was_here"
    yield made
    assert not made.exists(), "the file has run code"


def test_the_attack_would_work_on_whoever_unpickles(tmp_path):
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt", "safetensors"])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_with_code_is_refused_whatever_its_name(tmp_path, trace, suffix, is_zip):
    path = tmp_path / f"weights.{suffix}"
    content = {"state_dict": {"fc.weight": torch.zeros(2)}, "hook": RunsCode(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=rf"weights\.{suffix}"):
        read_state_dict(path)


def test_a_state_kept_between_epochs_is_not_trusted_either(tmp_path, trace):
    torch.save({"weights": RunsCode(trace)}, tmp_path / BEST)
    with pytest.raises(pickle.UnpicklingError):
        load_best(tmp_path, torch.device("cpu"))


def test_values_per_query_with_objects_are_refused(tmp_path, trace):
    path = tmp_path / "per_query" / "e" / "t.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **{"test/map": np.array([RunsCode(trace)], dtype=object)})
    with pytest.raises(StorageError, match=r"cannot read .*t\.npz"):
        per_query_of(tmp_path, "e", "t", "test", "map")


@pytest.mark.parametrize(
    "attack",
    [
        "!!python/object/apply:os.mkdir ['{trace}']",
        "!!python/object/new:os.mkdir ['{trace}']",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "&a [*a]",
    ],
)
def test_a_spec_is_data(tmp_path, trace, attack):
    path = tmp_path / "spec.yaml"
    path.write_text(f"name: {attack.format(trace=trace)}\nbackbones: ['@mini']\ntasks: [knn@digits]\n")
    with pytest.raises(SpecError, match="line 1"):
        load_spec(path)


def calls() -> list[tuple[str, str, ast.Call]]:
    """(File and line, dotted name, call) of every call in the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                place = f"{file.relative_to(PACKAGE)}:{node.lineno}"
                found.append((place, ast.unparse(node.func), node))
    return found


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


def test_no_call_in_the_package_could_run_what_a_file_says():
    assert [(place, name) for place, name, _ in calls() if name in FORBIDDEN] == []


def test_torch_is_told_everywhere_to_read_weights_only():
    loads = [(place, call) for place, name, call in calls() if name == "torch.load"]
    assert loads
    assert [place for place, call in loads if keyword(call, "weights_only") is not True] == []


def test_numpy_is_nowhere_allowed_to_unpickle():
    loads = [(place, call) for place, name, call in calls() if name in {"np.load", "numpy.load"}]
    assert loads
    assert [place for place, call in loads if keyword(call, "allow_pickle")] == []


def test_no_command_goes_through_a_shell():
    started = [(place, call) for place, name, call in calls() if name.startswith("subprocess.")]
    assert started
    assert [place for place, call in started if keyword(call, "shell")] == []
