"""CHANGELOG.md follows Keep a Changelog and covers the current version."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_unreleased_changes_come_first_and_versions_have_dates():
    first, *versions = re.findall(r"^## (.*)$", TEXT, re.M)
    assert first == "[Unreleased]"
    assert versions
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions)


def test_the_current_version_is_listed():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\n## [{version}] - " in TEXT


def test_headings_are_those_of_keep_a_changelog():
    assert set(re.findall(r"^### (.*)$", TEXT, re.M)) <= KINDS
