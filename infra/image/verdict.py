"""Judge a report of pip-audit: exit code 0 only if all packages were checked and none is vulnerable.

    python verdict.py pip-audit.json      0: none vulnerable; 1: vulnerabilities; 2: not all packages checked

pip-audit skips packages that its service does not know and still exits with 0: behind a package mirror
without vulnerability data it skips everything and prints "No known vulnerabilities found".
"""

import json
import sys
from pathlib import Path
from typing import Any


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """(Exit code, lines). Local versions (`2.15.0+cpu`) are on no index: listed, but no failure."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    unchecked = [package for package in skipped if "+" not in package["skip_reason"]]
    lines = [
        f"{package['name']} {package['version']}: {known['id']}, "
        f"{'fixed in ' + ', '.join(known['fix_versions']) if known['fix_versions'] else 'no fix yet'}"
        for package in packages
        for known in package.get("vulns", [])
    ]
    code = 2 if unchecked or not packages else 1 if lines else 0
    lines.append(f"{len(packages) - len(skipped)} of {len(packages)} packages were checked")
    lines += [f"not checked: {package['skip_reason']}" for package in skipped[:20]]
    if code == 2:
        lines.append("this audit is incomplete: the vulnerability service did not answer for all packages.")
    return code, lines


if __name__ == "__main__":
    exit_code, lines = verdict(json.loads(Path(sys.argv[1]).read_text()))
    print(*lines, sep="\n")
    raise SystemExit(exit_code)
