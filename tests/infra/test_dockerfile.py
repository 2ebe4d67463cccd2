"""The Dockerfile, parsed and linted; infra/image/rehearse.py executes it, which takes long."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from infra.image import dockerfile
from infra.image.requirements import requirements

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
DEFAULTS, LISTED = dockerfile.read(TEXT)
STAGES = {stage.name: stage for stage in LISTED}
IMAGES = ("runtime", "mlflow")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())


def lineage(name: str) -> list[dockerfile.Instruction]:
    """All instructions of an image, including those of the stages below it."""
    stage = STAGES[name]
    return [*(lineage(stage.source) if stage.source in STAGES else []), *stage.instructions]


def instructions(name: str, keyword: str) -> list[dockerfile.Instruction]:
    return [instruction for instruction in lineage(name) if instruction.keyword == keyword]


def test_the_linter_finds_nothing():
    """Exceptions are in the file, each with its reason."""
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_image_is_pinned_to_a_patch_version_of_the_projects_python():
    version = re.fullmatch(
        r"python:(\d+\.\d+)\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", DEFAULTS["BASE_IMAGE"]
    )
    assert version is not None, DEFAULTS
    assert PROJECT["project"]["requires-python"] == f">={version[1]}"


def test_every_stage_starts_from_the_base_another_stage_or_scratch():
    before: list[str] = []
    for stage in LISTED:
        assert stage.source in {"${BASE_IMAGE}", "scratch", *before}, stage.source
        before.append(stage.name)
    assert before[-1] == "runtime", "a build without --target must end in the image that runs"


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_numbered_user_that_is_not_root(name):
    uid, _, gid = instructions(name, "USER")[-1].arguments.partition(":")
    assert uid.isdecimal()  # runAsNonRoot needs a number.
    assert int(uid) > 0
    assert int(gid) > 0


@pytest.mark.parametrize("name", ["dependencies", "mlflow-dependencies"])
def test_dependency_layers_do_not_depend_on_the_source(name):
    copied = [instruction.arguments for instruction in instructions(name, "COPY")]
    assert copied == ["pyproject.toml requirements.lock infra/image/requirements.py ./"]


def test_the_source_is_a_separate_layer_above_the_dependencies():
    """Otherwise each new version would push and pull PyTorch again."""
    assert [copy.flag("from") for copy in STAGES["runtime"].all("COPY")] == ["dependencies"]
    assert [run.flag("mount") for run in STAGES["runtime"].all("RUN")] == [
        "type=bind,from=wheel,source=/wheel,target=/wheel"
    ]


def test_the_build_context_holds_exactly_the_copied_files():
    allowed = {line[1:] for line in dockerfile.ignored_lines(ROOT) if line.startswith("!")}
    copied = {
        source
        for stage in LISTED
        for copy in stage.all("COPY")
        if copy.flag("from") is None
        for source in copy.words[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize(
    ("path", "is_sent"),
    [
        ("raybench/cli/__main__.py", True),
        ("raybench/backbones/mini/weights/mini_vit.mae.safetensors", True),
        ("infra/image/requirements.py", True),
        ("raybench/__pycache__/errors.cpython-311.pyc", False),
        ("raybench/.env", False),
        ("infra/image/rehearse.py", False),
        ("tests/test_cli.py", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("runs/mlflow.db", False),
        ("weights.safetensors", False),
    ],
)
def test_results_secrets_and_tests_are_not_in_the_build_context(path, is_sent):
    assert dockerfile.sent_to_the_build(path, dockerfile.ignored_lines(ROOT)) is is_sent


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_labels_and_a_health_check(name):
    (label,) = instructions(name, "LABEL")
    keys = {key.removeprefix("org.opencontainers.image.") for key in label.settings({})}
    assert {"title", "version", "revision", "created", "source", "licenses"} <= keys
    assert instructions(name, "HEALTHCHECK")
    # Everything after a changed argument is rebuilt, so these come last.
    keywords = [instruction.keyword for instruction in STAGES[name].instructions]
    assert set(keywords[keywords.index("ARG") :]) == {"ARG", "LABEL"}


@pytest.mark.parametrize("name", IMAGES)
def test_process_1_forwards_signals(name):
    assert instructions(name, "ENTRYPOINT")[-1].words == ["tini", "--"]


def test_programs_of_health_checks_and_entry_points_are_installed():
    installed = " ".join(run.arguments for run in STAGES["base"].all("RUN"))
    for needed in ("wget", "tini"):
        assert re.search(rf"apt-get install .*\b{needed}\b", installed)


def test_the_image_contains_no_secret_and_no_package_index():
    for stage in LISTED:
        for instruction in [*stage.all("ENV"), *stage.all("ARG")]:
            secret = re.search(r"(?i)(token|password|secret|key)\w*=(?!token\b)\S", instruction.arguments)
            assert not secret, instruction.arguments
    assert not re.search(r"https?://(?!127\.0\.0\.1)", TEXT)


def test_everything_that_pip_installs_is_pinned_by_the_lock():
    """Except PyTorch's CPU wheels, whose list is extracted from the lock, and raybench's own wheel."""
    installs = [
        command
        for stage in LISTED
        for run in stage.all("RUN")
        for command in re.findall(r"pip install [^&;]*", run.arguments)
    ]
    unpinned = [command for command in installs if "-c requirements.lock" not in command]
    assert len(installs) > len(unpinned) == 2
    assert all("-r torch.txt" in command or "/wheel/*.whl" in command for command in unpinned)


@pytest.mark.parametrize("words", [["project"], ["mlflow", "server"], ["audit"], ["build"]])
def test_every_listed_requirement_is_pinned_by_the_lock(words):
    pinned = {name.lower().replace("_", "-") for name in LOCKED}
    names = [re.split(r"[^\w.-]", line)[0] for line in requirements(PROJECT, words)]
    assert names
    assert {name.lower().replace("_", "-") for name in names} <= pinned


def test_an_unknown_list_is_refused():
    with pytest.raises(SystemExit, match=r"pyproject.toml has no servr; it has .*server"):
        requirements(PROJECT, ["servr"])


def test_an_unknown_instruction_is_refused():
    with pytest.raises(ValueError, match="unknown instruction 'VOLUME'"):
        dockerfile.read("FROM scratch AS a\nVOLUME /data\n")
