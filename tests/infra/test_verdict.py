"""A pip-audit report that checked no package does not count as clean."""

import pytest

from infra.image.verdict import verdict

CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
KNOWN = {"name": "pillow", "version": "9.0.0", "vulns": [{"id": "PYSEC-2022-10", "fix_versions": ["9.0.1"]}]}
UNKNOWN = {
    "name": "ray",
    "skip_reason": "Dependency not found on PyPI and could not be audited: ray (2.60.0)",
}
LOCAL = {
    "name": "torch",
    "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.15.0+cpu)",
}


@pytest.mark.parametrize(
    ("packages", "code", "expected"),
    [
        ([CLEAN], 0, "1 of 1 packages were checked"),
        ([CLEAN, LOCAL], 0, "torch (2.15.0+cpu)"),
        ([CLEAN, KNOWN], 1, "pillow 9.0.0: PYSEC-2022-10, fixed in 9.0.1"),
        ([CLEAN, UNKNOWN], 2, "this audit is incomplete"),
        ([KNOWN, UNKNOWN], 2, "PYSEC-2022-10"),
        ([], 2, "0 of 0 packages were checked"),
    ],
)
def test_the_exit_code_depends_on_what_was_checked(packages, code, expected):
    exit_code, lines = verdict({"dependencies": packages})
    assert exit_code == code
    assert any(expected in line for line in lines)
