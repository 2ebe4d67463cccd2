"""The image's recipe, read as text: `docker build` itself is not run here."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTRUCTION = re.compile(
    r"^(FROM|ARG|ENV|RUN|COPY|USER|HEALTHCHECK|LABEL|CMD|SHELL|WORKDIR)\s+(.*)", re.DOTALL
)


def instructions() -> list[tuple[str, str]]:
    """(keyword, arguments) of every instruction, continuation lines joined."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    logical = "\n".join(lines).replace("\\\n", " ").splitlines()
    matches = [INSTRUCTION.match(line) for line in logical if line.strip()]
    assert all(matches), "an instruction that this test does not know"
    return [(match[1], match[2]) for match in matches if match]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one build stage."""
    found, inside = [], False
    for keyword, arguments in instructions():
        if keyword == "FROM":
            inside = arguments.endswith(f" AS {name}")
        elif inside:
            found.append((keyword, arguments))
    assert found, f"no stage {name}"
    return found


def test_the_base_image_is_pinned_to_a_patch_version_of_the_projects_python() -> None:
    (base,) = [a.partition("=")[2] for k, a in instructions() if k == "ARG" and a.startswith("BASE_IMAGE=")]
    version = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert version is not None, base
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={version[1]}"


def test_every_stage_starts_from_that_base_from_another_stage_or_from_nothing() -> None:
    stages: list[str] = []
    for keyword, arguments in instructions():
        if keyword == "FROM":
            source, _, name = arguments.partition(" AS ")
            assert source in {"${BASE_IMAGE}", "scratch", *stages}, source
            stages.append(name)
    assert stages[-1] == "runtime", "a build without --target must end in the image that runs"


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    users = [arguments for keyword, arguments in stage("runtime") if keyword == "USER"]
    assert users, "no USER"
    uid, _, gid = users[-1].partition(":")
    assert uid.isdecimal()  # runAsNonRoot cannot check a name.
    assert int(uid) > 0
    assert int(gid) > 0


def test_a_change_of_the_source_leaves_the_layer_of_dependencies_as_it_is() -> None:
    copied = [arguments for keyword, arguments in stage("dependencies") if keyword == "COPY"]
    assert copied == ["pyproject.toml requirements.lock ./"]


def test_what_the_build_copies_is_all_that_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for keyword, arguments in instructions()
        if keyword == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("needed", ["HEALTHCHECK", "LABEL"])
def test_the_image_says_what_it_is_and_whether_it_is_well(needed: str) -> None:
    assert needed in {keyword for keyword, _ in stage("runtime")}


def test_what_the_probes_of_kuberay_call_is_installed() -> None:
    packages = [arguments for keyword, arguments in stage("runtime") if keyword == "RUN"]
    assert any(re.search(r"apt-get install .*\bwget\b", arguments) for arguments in packages)


def test_no_secret_and_no_package_index_is_written_into_the_image() -> None:
    for keyword, arguments in instructions():
        if keyword in {"ENV", "ARG"}:
            assert not re.search(r"(?i)(token|password|secret|key)\w*=(?!token\b)\S", arguments), arguments
    assert not re.search(r"https?://(?!127\.0\.0\.1)", (ROOT / "Dockerfile").read_text())


def test_the_tools_of_the_audit_are_pinned() -> None:
    installs = [arguments for keyword, arguments in stage("audit") if "pip install" in arguments]
    assert installs
    for arguments in installs:
        packages = arguments.partition("pip install")[2].split()
        assert all("==" in package for package in packages), packages
