"""Print lists of requirements from pyproject.toml, their only source.

    python requirements.py project          all dependencies of raybench
    python requirements.py mlflow server    one dependency and the extra `server`
    python requirements.py build            the build dependencies

The Dockerfile installs from these lists, so that dependency layers do not change with the source.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = "pyproject.toml"


def requirements(content: dict[str, Any], words: list[str]) -> list[str]:
    """Requirements for the given words: `project`, `build`, an extra, or one dependency.

    Raises:
        SystemExit: for an unknown word.
    """
    project = content["project"]
    lists = {
        **{re.split(r"[^\w.-]", line)[0]: [line] for line in project["dependencies"]},
        **project["optional-dependencies"],
        "project": project["dependencies"],
        "build": content["build-system"]["requires"],
    }
    if unknown := [word for word in words if word not in lists]:
        raise SystemExit(f"{PYPROJECT} has no {', '.join(unknown)}; it has {', '.join(lists)}.")
    return [line for word in words for line in lists[word]]


if __name__ == "__main__":
    print(*requirements(tomllib.loads(Path(PYPROJECT).read_text()), sys.argv[1:]), sep="\n")
