"""CITATION.cff is valid and agrees with pyproject.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CITATION = ROOT / "CITATION.cff"


def check(path: Path) -> "subprocess.CompletedProcess[str]":
    """Validate against the schema of the Citation File Format 1.2.0."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)


def test_it_obeys_the_citation_file_format():
    done = check(CITATION)
    assert done.returncode == 0, done.stdout


def test_a_missing_key_is_refused(tmp_path):
    path = tmp_path / "CITATION.cff"
    path.write_text(CITATION.read_text().replace("message:", "massage:"))
    assert "'message' is a required property" in check(path).stdout


def test_version_title_and_licence_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load(CITATION.read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


def test_the_paper_is_a_reference():
    (paper,) = yaml.safe_load(CITATION.read_text())["references"]
    assert paper["title"].startswith("Battle of the Backbones")
    assert {"type": "other", "value": "arXiv:2310.19909"} in paper["identifiers"]
