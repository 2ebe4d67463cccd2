"""The shape of the package, kept by tests rather than by memory: doors, layers, light starts, sizes."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import raybench
from tests.processes import DEADLINE_SECONDS

PACKAGE = Path(raybench.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.py"))
IDS = [str(file.relative_to(PACKAGE)) for file in FILES]

DOORS = {
    "ray": {"tuning"},
    "optuna": {"tuning"},
    "mlflow": {"tracking"},
    "timm": {"backbones"},
    "foolbox": {"perturbations"},
    "kornia": {"perturbations"},
    "netcal": {"metrics"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "jinja2": {"report"},
    "torchmetrics": {"metrics"},
    "polars": {"store", "analysis", "report"},
    "datasets": {"data"},
    "boto3": {"store"},
    "botocore": {"store"},
    "filelock": {"store"},
    "torchvision": {"data", "backbones", "cli"},  # Pretraining's CIFAR-10; is the installation whole?
}
"""Library → the only parts of raybench that may import it, deferred imports included."""

LAYERS = (
    {"core"},
    {"metrics"},
    {"store"},
    {"catalog"},
    {"backbones", "data"},
    {"spec", "perturbations", "analysis"},
    {"features", "report"},
    {"evaluation"},
    {"worker"},
    {"tuning", "tracking"},
    {"experiment"},
    {"cli"},
)
"""Packages from the bottom up. A package may import those below it, not its neighbours nor those above."""

LAYER_OF = {part: height for height, parts in enumerate(LAYERS) for part in parts}
MAKERS = {
    "spec",
    "backbones",
    "data",
    "perturbations",
    "features",
    "evaluation",
    "worker",
    "tuning",
    "tracking",
}
READERS = {"analysis", "report"}
"""The two sides of the measurement table: one makes rows, the other reads them."""

HEAVY = (
    "boto3",
    "botocore",
    "filelock",
    "torch",
    "ray",
    "mlflow",
    "timm",
    "torchvision",
    "pydantic",
    "sklearn",
    "scipy",
    "pandas",
)
MAX_LINES = 300


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported_modules(file: Path) -> Iterator[str]:
    """Full names of everything imported anywhere in `file`, deferred imports included."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(file: Path) -> str:
    """`raybench/tuning/study.py` → `tuning`, `raybench/store/results.py` → `results`."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("library", DOORS)
def test_a_library_enters_by_its_door_only(library):
    importers = {
        part_of(file)
        for file in FILES
        if library in {module.partition(".")[0] for module in imported_modules(file)}
    }
    assert importers <= DOORS[library], f"{library} may be imported in {DOORS[library]} only"


def test_every_part_has_its_layer():
    assert {part_of(file) for file in FILES} - {"__init__"} == set(LAYER_OF)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_imports_go_downward(file):
    part = part_of(file)
    if part == "__init__":
        return
    own = [module.split(".") for module in imported_modules(file) if module.startswith("raybench.")]
    targets = {names[1] for names in own if names[1] in LAYER_OF}
    not_below = {other for other in targets - {part} if LAYER_OF[other] >= LAYER_OF[part]}
    assert not not_below, f"{part} (layer {LAYER_OF[part]}) imports {not_below}, which are not below it"


def test_readers_of_the_table_do_not_know_its_makers():
    for file in FILES:
        if part_of(file) in READERS:
            known = {
                module.split(".")[1] for module in imported_modules(file) if module.startswith("raybench.")
            }
            assert not known & MAKERS, file


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_every_module_says_what_it_is(file):
    assert ast.get_docstring(tree_of(file))


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_input_is_refused_with_a_sentence_not_with_an_assert(file):
    lines = [node.lineno for node in ast.walk(tree_of(file)) if isinstance(node, ast.Assert)]
    assert not lines, f"bare assert in line(s) {lines}: `python -O` drops it, and nobody can read it"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_no_file_is_where_everyone_appends(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_no_module_is_named_after_having_no_home():
    homeless = {"utils", "helpers", "common", "misc", "base", "core", "manager", "handler"}
    assert not {file.stem for file in FILES} & homeless


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded by a fresh Python after `code`."""
    listing = "import sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{listing}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split("\n")[-2].split()}


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """A storage with two measurements; ranking an empty one would stop before most imports."""
    from raybench.core.records import Measurement, Task
    from raybench.store.measurements import write_measurements

    folder = tmp_path_factory.mktemp("storage")
    for backbone, value in (("a", 0.5), ("b", 0.25)):
        measurement = Measurement(
            experiment="e",
            backbone=backbone,
            task=Task.parse("knn@digits"),
            split="test",
            metric="accuracy",
            value=value,
            num_examples=4,
            seed=0,
        )
        write_measurements(folder, "e", backbone, [measurement], {})
    return folder


@pytest.mark.parametrize("output_format", ["table", "json", "csv", "markdown"])
def test_rank_starts_light(storage, output_format):
    arguments = ["rank", str(storage), "--format", output_format]
    loaded = modules_after(f"from raybench.cli import main\nassert main({arguments!r}) == 0")
    assert "polars" in loaded
    assert not loaded & {*HEAVY, "numpy"}


def test_rank_starts_light_from_tables_too(storage, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("backbone,task,metric,value\na,knn@shapes,accuracy,0.5\nb,knn@shapes,accuracy,0.4\n")
    for sources in ([str(storage), str(table)], ["published:bob"]):
        arguments = ["rank", *sources, "--missing", "zero", "--mean", "macro"]
        loaded = modules_after(f"from raybench.cli import main\nassert main({arguments!r}) == 0")
        assert "polars" in loaded
        assert not loaded & {*HEAVY, "numpy"}


@pytest.mark.parametrize(
    "what", ["backbones", "datasets", "tasks", "protocols", "spaces", "budgets", "metrics", "evaluators"]
)
def test_list_starts_light(what):
    loaded = modules_after(f"from raybench.cli import main\nassert main(['list', {what!r}]) == 0")
    assert not loaded & {*HEAVY, "numpy", "polars"}


def test_help_starts_lightest():
    loaded = modules_after("from raybench.cli import _parser\n_parser().format_help()")
    assert not loaded & {*HEAVY, "numpy", "polars", "yaml"}


def test_core_and_catalogue_import_the_standard_library_only():
    third_party = {
        (file.name, module)
        for file in FILES
        if part_of(file) in {"core", "catalog"}
        for module in imported_modules(file)
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "raybench"}
    }
    assert not third_party


def test_no_module_lies_at_the_top_of_the_package():
    assert {file.name for file in PACKAGE.glob("*.py")} <= {"__init__.py", "api.py"}


def test_no_two_packages_import_each_other():
    """Subpackages count: `report.gather` and `report.render`, `store.files` and `store`."""
    edges = {
        (own, other)
        for file in FILES
        for own in [".".join(file.relative_to(PACKAGE).parts[:-1])]
        for module in imported_modules(file)
        if module.startswith("raybench.")
        for other in [package_of(module)]
        if other != own
    }
    assert not {(a, b) for a, b in edges if (b, a) in edges and a < b}


def package_of(module: str) -> str:
    """`raybench.store.files.atomic.write_atomic` → `store.files`."""
    parts = module.split(".")[1:]
    while parts and not (PACKAGE.joinpath(*parts) / "__init__.py").is_file():
        parts.pop()
    return ".".join(parts)
