"""The examples of CONTRIBUTING.md work: they are applied to a copy of the repository, tested and measured."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ADDED = {
    "backbones": ["resnet26.bt_in1k"],
    "datasets": ["imagenette", "rendered_sst2"],
    "protocols": ["nearest_mean"],
    "metrics": ["true_class_probability", "flip_consistency"],
    "evaluators": ["flip"],
}
SPEC = """
name: added
backbones: [mini_resnet.random]
tasks: [nearest_mean@digits]
budget: smoke
evaluators: [flip]
"""
FINAL_TRIAL = """
import sys
from pathlib import Path
from raybench.core.records import TrialRequest
from raybench.spec import load_spec
from raybench.store import ledger
from raybench.worker.trial import Trial

spec, storage = load_spec(Path(sys.argv[1])), Path(sys.argv[2])
ledger.save_spec(storage, spec.name, spec.to_dict())
(pair,) = spec.pairs()
hparams = {"feature_norm": "standardize"}
request = TrialRequest(
    experiment=spec.name, pair=pair, stage="final", index=0, hparams=hparams, seed=0, max_epochs=1
)
trial = Trial(request, spec, storage, device="cpu", num_threads=1)
while not trial.step().is_done:
    pass
record = ledger.read_record(storage, spec.name, request.trial_id)
assert record.status == "completed", record.reason
"""


@dataclass(frozen=True)
class Change:
    """A code block and the file that it changes."""

    file: str
    kind: str
    """`new file`, `at the end`, or empty for a diff."""
    code: str

    def apply(self, root: Path) -> None:
        path = root / self.file
        if self.kind == "new file":
            assert not path.exists()
            path.write_text(self.code, encoding="utf-8")
        elif self.kind == "at the end":
            path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{self.code}", encoding="utf-8")
        else:
            lines = self.code.splitlines(keepends=True)
            new = "".join(line[1:] for line in lines)
            text = path.read_text(encoding="utf-8")
            assert text.count(self.context) == 1, f"{self.file} needs this exactly once:\n{self.context}"
            path.write_text(text.replace(self.context, new), encoding="utf-8")

    @property
    def context(self) -> str:
        """Lines of a diff that are there already."""
        return "".join(line[1:] for line in self.code.splitlines(keepends=True) if line[0] == " ")


def changes() -> list[Change]:
    """All code blocks of the section "Additions"; one without a file name belongs to the file before."""
    pattern = re.compile(
        r"^`([\w/.]+)`(?: \((new file|at the end)\))?:\n|^```(?:python|diff)\n(.*?)^```", re.M | re.S
    )
    section = TEXT.partition("\n## Additions")[2].partition("\n## Your own package")[0]
    result, file, kind = [], "", ""
    for match in pattern.finditer(section):
        if match[1]:
            file, kind = match[1], match[2] or ""
        else:
            result.append(Change(file, kind, match[3]))
    return result


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of the repository with all examples applied."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("raybench", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for change in changes():
        change.apply(root)
    return root


def python(root: Path, *arguments: object) -> str:
    """Run Python in the copy; its output."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def storage(repository, tmp_path_factory) -> Path:
    """A storage with a final trial that uses the protocol and the evaluator."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "added.yaml").write_text(SPEC)
    python(repository, "-c", FINAL_TRIAL, folder / "added.yaml", folder / "storage")
    return folder / "storage"


def test_there_is_an_example_of_each_kind():
    headings = re.findall(r"^### An? (\w+)$", TEXT, re.M)
    assert {f"{heading}s" for heading in headings} == set(ADDED)
    assert len(changes()) >= 10


def test_the_new_rows_are_in_the_catalogue(repository):
    code = (
        "import json; from raybench.catalog.listing import LISTINGS\n"
        f"print(json.dumps({{kind: [row['name'] for row in LISTINGS[kind]()] for kind in {list(ADDED)}}}))"
    )
    names = json.loads(python(repository, "-c", code))
    assert all(set(added) <= set(names[kind]) for kind, added in ADDED.items())


def test_the_examples_add_lines_at_places_that_they_leave_in_place(repository):
    # So the text stays true once somebody has followed it.
    for change in changes():
        if not change.kind:
            assert not re.search("^-", change.code, re.M)
            assert (repository / change.file).read_text(encoding="utf-8").count(change.context) == 1


def test_the_new_rows_pass_the_contract_tests(repository):
    options = [
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        "-k",
        " or ".join(name for names in ADDED.values() for name in names),
    ]
    output = python(repository, "-m", "pytest", *options, "tests/contracts")
    assert re.search(r"\d+ passed|\.", output)


NEW_FILES = sorted({change.file for change in changes() if change.kind == "new file"})


def test_the_new_code_is_formatted_and_linted(repository):
    python(repository, "-m", "ruff", "check", *NEW_FILES)
    python(repository, "-m", "ruff", "format", "--check", *NEW_FILES)


@pytest.mark.slow
def test_the_new_code_is_typed(repository):
    python(repository, "-m", "mypy", "--cache-dir", repository / ".mypy", *NEW_FILES)


def test_protocol_and_evaluator_are_measured(repository, storage):
    code = (
        "import json, sys; from pathlib import Path\n"
        "from raybench.store.measurements import read_measurements\n"
        "rows = read_measurements(Path(sys.argv[1])).filter(split='test').select('metric', 'value').rows()\n"
        "print(json.dumps(dict(rows)))"
    )
    values = json.loads(python(repository, "-c", code, storage))
    assert 0.5 < values["accuracy"] < 1
    assert 0.2 < values["flip_consistency"] < 1


def test_the_evaluator_has_a_section_in_the_report(repository, storage, tmp_path):
    page = tmp_path / "report.html"
    python(repository, "-m", "raybench.cli", "report", storage, "-o", page)
    assert "Flips" in page.read_text()


def test_the_metric_ranks_a_finished_experiment(repository, storage):
    ranking = python(repository, "-m", "raybench.cli", "rank", storage, "--metric", ADDED["metrics"][0])
    assert "true_class_probability" in ranking


def test_the_doctests_of_the_metrics_are_true(repository):
    code = (
        "import doctest; from raybench.metrics import classification, robustness\n"
        "print(sum(doctest.testmod(module).failed for module in (classification, robustness)))"
    )
    assert python(repository, "-c", code) == "0\n"
