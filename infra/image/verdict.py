"""What a report of pip-audit is worth: exit code 0 only if it is worth something.

    python verdict.py pip-audit.json      0: nothing is known; 1: something is; 2: not all were asked about

pip-audit leaves out what its service does not answer for and still ends with 0: behind a mirror of the
package index without vulnerability data it skips every package and says "No known vulnerabilities found".
"""

import json
import sys
from pathlib import Path
from typing import Any


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """(Exit code, lines). A build with a local version (`2.15.0+cpu`) is on no index: named, no failure."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    unanswered = [package for package in skipped if "+" not in package["skip_reason"]]
    lines = [
        f"{package['name']} {package['version']}: {known['id']}, "
        f"{'mended in ' + ', '.join(known['fix_versions']) if known['fix_versions'] else 'not mended yet'}"
        for package in packages
        for known in package.get("vulns", [])
    ]
    code = 2 if unanswered or not packages else 1 if lines else 0
    lines.append(f"{len(packages) - len(skipped)} of {len(packages)} packages were asked about")
    lines += [f"not asked: {package['skip_reason']}" for package in skipped[:20]]
    if code == 2:
        lines.append("this is no audit: the vulnerability service did not answer for all of them.")
    return code, lines


if __name__ == "__main__":
    exit_code, said = verdict(json.loads(Path(sys.argv[1]).read_text()))
    print(*said, sep="\n")
    raise SystemExit(exit_code)
