"""The map in the docstring of `store.layout` fits real storages, and no other module spells its paths."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

import raybench
from raybench.catalog.evaluators import EVALUATORS
from raybench.core.records import Pair, Task, TrialRequest, digest_of
from raybench.spec import load_spec
from raybench.store import layout
from raybench.store.files import file_sizes
from raybench.worker.trial import Trial
from tests.end_to_end.ray_nodes import environment
from tests.processes import DEADLINE_SECONDS

PACKAGE = Path(raybench.__file__).parent
EXPERIMENT = "small"
SPEC = f"""
name: {EXPERIMENT}
backbones: [mini_resnet.random]
tasks: [knn@digits, finetune@digits, retrieval@digits]
search: {{sampler: qmc, num_trials: 1, early_stopping: none}}
budget: smoke
seeds: [0]
evaluators: [calibration, {{corruption: {{corruptions: [gaussian_noise], severities: [1], num_examples: 4}}}}]
"""
PATTERNS = {
    "EXPERIMENT": EXPERIMENT,
    "TRIAL_ID": r"[\w.-]+-(features|search|final)-\d{3}-[0-9a-f]{8}",
    "PAIR": r"[\w.-]+-[0-9a-f]{8}",
    "EVALUATOR": f"({'|'.join(EVALUATORS)})",
    "KIND": "(backbone|dataset)",
    "DIGEST": "[0-9a-f]{16}",
    "KEY": "[0-9a-f]{24}",
}
"""Placeholder of the map → regular expression of its values."""
EXAMPLES = {
    "EXPERIMENT": EXPERIMENT,
    "TRIAL_ID": "b--knn_digits-00000000-search-001-11111111",
    "PAIR": "b--knn_digits-00000000",
    "EVALUATOR": "calibration",
    "KIND": "backbone",
    "DIGEST": digest_of("b"),
    "KEY": "0" * 24,
}
PLACEHOLDER = re.compile("|".join(sorted(PATTERNS, key=len, reverse=True)))
TEMPORARY = {
    "experiments/EXPERIMENT/checkpoints/TRIAL_ID/",
    "experiments/EXPERIMENT/evaluations/TRIAL_ID.EVALUATOR/",
    "features/KEY.partial/",
    "features/KEY.shards/",
}
ON_CRASH = {"experiments/EXPERIMENT/tracebacks/TRIAL_ID.txt"}
EXPERIMENT_FILES = {
    "storage_id",
    "experiments/EXPERIMENT/spec.json",
    "experiments/EXPERIMENT/running.lock",
    "experiments/EXPERIMENT/importance.json",
    "experiments/EXPERIMENT/recipes/PAIR.yaml",
    "experiments/EXPERIMENT/tracked.json",
    "costs/DIGEST.json",
    "mlflow.db",
    "mlartifacts/",
}
"""What a run writes and a single trial does not."""


def map_of_storage() -> list[str]:
    """The paths of the docstring's tree, with placeholders; a folder of any content ends in a slash."""
    paths: list[str] = []
    folders: list[str] = []
    for line in inspect.getdoc(layout).splitlines():
        if entry := re.match(r"((?:│   )*)[├└]── (\S+)", line):
            depth = len(entry[1]) // 4
            folders = [*folders[:depth], entry[2]]
            paths.append("".join(folders))
    return [path for path in paths if not any(other != path and other.startswith(path) for other in paths)]


def pattern_of(path: str) -> re.Pattern[str]:
    pattern, end = "", 0
    for placeholder in PLACEHOLDER.finditer(path):
        pattern += re.escape(path[end : placeholder.start()]) + PATTERNS[placeholder[0]]
        end = placeholder.end()
    return re.compile(pattern + re.escape(path[end:]) + ("[^/].*" if path.endswith("/") else ""))


def matches(files: Iterable[str]) -> dict[str, list[str]]:
    """File → the paths of the map that match it."""
    patterns = {path: pattern_of(path) for path in map_of_storage()}
    return {file: [p for p, pattern in patterns.items() if pattern.fullmatch(file)] for file in files}


def test_the_map_is_parsed_as_it_is_read():
    paths = map_of_storage()
    assert len(paths) == len(set(paths)) > 20
    assert "experiments/EXPERIMENT/trials/TRIAL_ID.json" in paths
    assert set(paths) >= TEMPORARY | EXPERIMENT_FILES
    assert matches(["measurements/small/t.parquet", "mlflow.db", "notes/mlflow.db"]) == {
        "measurements/small/t.parquet": [],
        "mlflow.db": ["mlflow.db"],
        "notes/mlflow.db": [],
    }


def paths_of_functions() -> set[PurePosixPath]:
    """What each public function of `layout` returns, with and without its optional arguments."""
    root = PurePosixPath("/storage")
    values = {name.lower(): value for name, value in EXAMPLES.items()}
    values |= {"storage": root, "folder": root, "name": "b", "pair_slug": EXAMPLES["PAIR"]}
    paths = set()
    for function in vars(layout).values():
        if inspect.isfunction(function) and function.__module__ == layout.__name__:
            parameters = inspect.signature(function).parameters.values()
            required = {p.name: values[p.name] for p in parameters if p.default is p.empty}
            paths |= {function(**required), function(**{p.name: values[p.name] for p in parameters})}
    return {path.relative_to(root) for path in paths if not path.name.startswith(".")}


def test_functions_and_map_name_the_same_paths():
    on_map = {PurePosixPath(PLACEHOLDER.sub(lambda m: EXAMPLES[m[0]], path)) for path in map_of_storage()}
    functions = paths_of_functions()
    parents = {parent for path in on_map for parent in path.parents}
    assert functions <= on_map | parents
    assert {path for path in on_map if not functions & {path, *list(path.parents)[:-1]}} == set()


def test_every_file_of_a_trial_is_on_the_map(any_storage, tmp_path, monkeypatch):
    """Temporary folders are kept for this test; elsewhere it is tested that they are removed."""
    for module in ("trial", "final_stage"):
        monkeypatch.setattr(f"raybench.worker.{module}.remove_tree", lambda folder: None)
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    spec = load_spec(path)
    for protocol, hparams in (
        ("knn", {}),
        ("finetune", {"lr": 1e-3, "weight_decay": 0.05}),
        ("retrieval", {}),
    ):
        request = TrialRequest(
            experiment=EXPERIMENT,
            pair=Pair(backbone="mini_resnet.random", task=Task(protocol, "digits")),
            stage="final",
            index=0,
            hparams=hparams,
            seed=0,
            max_epochs=1,
        )
        trial = Trial(request, spec, any_storage, device="cpu", num_threads=1)
        while not trial.step().is_done:
            pass
    matched = matches(file_sizes(any_storage))
    assert {file: paths for file, paths in matched.items() if len(paths) != 1} == {}
    met = {path for paths in matched.values() for path in paths}
    leases = {"features/KEY.lock", "image_hashes/pixel-hashes-DIGEST.lock"}  # Deleted when released.
    unfinished = {"features/KEY.partial/", "features/KEY.shards/"}
    absent = unfinished | ON_CRASH | (set() if isinstance(any_storage, Path) else leases)
    assert met == set(map_of_storage()) - EXPERIMENT_FILES - absent


@pytest.mark.slow
def test_every_file_of_a_run_is_on_the_map_and_every_path_of_the_map_is_met(tmp_path):
    (tmp_path / "small.yaml").write_text(SPEC)
    for command in (["run", "small.yaml", "--num-cpus", "2", "--storage"], ["cost", "--batch-size", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "raybench.cli", *command, "storage"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
    matched = matches(file_sizes(tmp_path / "storage"))
    assert {file: paths for file, paths in matched.items() if len(paths) != 1} == {}
    assert {path for paths in matched.values() for path in paths} == set(
        map_of_storage()
    ) - TEMPORARY - ON_CRASH


OTHER_PATHS = {
    "backbones/mini/pretrain.py: checkpoints",  # Cache of the pretraining.
    "tracking/shared_view.py: experiments",  # URLs of an MLflow server.
    "tracking/ui.py: experiments",
}


def joined_names(tree: ast.Module) -> Iterable[str]:
    """Segments of every literal that is joined to a path: a and b of `path / "a/b"` and `f"{path}/a/b"`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            literals = [part.value for part in ast.walk(node.right) if isinstance(part, ast.Constant)]
        elif isinstance(node, ast.JoinedStr):
            literals = [
                part.value for part in node.values if isinstance(part, ast.Constant) and "/" in part.value
            ]
        else:
            continue
        for literal in literals:
            yield from str(literal).split("/")


def test_only_layout_spells_the_paths_of_a_storage():
    segments = {segment for path in map_of_storage() for segment in path.split("/")}
    names = {segment for segment in segments if segment and not PLACEHOLDER.search(segment)}
    assert {"experiments", "mlflow.db"} <= names
    spelled = {
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in PACKAGE.rglob("*.py")
        if file != Path(layout.__file__)
        for name in joined_names(ast.parse(file.read_text(encoding="utf-8")))
        if name in names
    }
    assert spelled == OTHER_PATHS
