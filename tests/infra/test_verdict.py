"""A report of pip-audit that asked about nothing is not taken for a clean one."""

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
    ("packages", "code", "says"),
    [
        ([CLEAN], 0, "1 of 1 packages were asked about"),
        ([CLEAN, LOCAL], 0, "torch (2.15.0+cpu)"),
        ([CLEAN, KNOWN], 1, "pillow 9.0.0: PYSEC-2022-10, mended in 9.0.1"),
        ([CLEAN, UNKNOWN], 2, "this is no audit"),
        ([KNOWN, UNKNOWN], 2, "PYSEC-2022-10"),
        ([], 2, "0 of 0 packages were asked about"),
    ],
)
def test_a_report_is_judged_by_what_it_asked(packages, code, says):
    found, lines = verdict({"dependencies": packages})
    assert found == code
    assert any(says in line for line in lines)
