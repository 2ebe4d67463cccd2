"""Parse a Dockerfile into stages and instructions; supports only what this project's Dockerfile uses."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

KEYWORDS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "HEALTHCHECK"),
    *("LABEL", "RUN", "SHELL", "USER", "WORKDIR"),
}
_FLAG = re.compile(r"--([\w-]+)=(\S+)\s*")
_SETTING = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Instruction:
    """One instruction, with continued lines joined and variables not yet replaced."""

    keyword: str
    arguments: str
    """Everything after the keyword and the flags."""
    flags: tuple[tuple[str, str], ...] = ()
    """(Name, value) of each `--name=value`, in order; `--mount` may occur several times."""

    def flag(self, name: str) -> str | None:
        return dict(self.flags).get(name)

    @property
    def words(self) -> list[str]:
        """The JSON list of a command in brackets, or the words of a line."""
        line = self.arguments.removeprefix("CMD").strip() if self.keyword == "HEALTHCHECK" else self.arguments
        return list(json.loads(line)) if line.startswith("[") else line.split()

    def settings(self, variables: Mapping[str, str]) -> dict[str, str]:
        """`NAME=value …` of ENV and LABEL, variables replaced."""
        pairs = _SETTING.findall(self.arguments)
        return {name: expand(value.strip('"'), variables) for name, value in pairs}


@dataclass
class Stage:
    """The instructions after one FROM."""

    name: str
    source: str
    """Another stage, an image, or `scratch`."""
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[Instruction]:
        return [entry for entry in self.instructions if entry.keyword == keyword]


def read(text: str) -> tuple[dict[str, str], list[Stage]]:
    """Parse a Dockerfile: (arguments before the first stage with their defaults, stages in order).

    Raises:
        ValueError: for an instruction outside `KEYWORDS` or a stage without a name.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    logical = "\n".join(lines).replace("\\\n", " ").splitlines()
    defaults: dict[str, str] = {}
    stages: list[Stage] = []
    for line in filter(str.strip, logical):
        instruction = _instruction(line)
        if instruction.keyword == "FROM":
            source, separator, name = instruction.arguments.partition(" AS ")
            if not separator:
                raise ValueError(f"a stage needs a name: {line!r}")
            stages.append(Stage(name=name, source=source))
        elif stages:
            stages[-1].instructions.append(instruction)
        else:
            name, _, default = instruction.arguments.partition("=")
            defaults[name] = default
    return defaults, stages


def _instruction(line: str) -> Instruction:
    keyword, _, rest = line.strip().partition(" ")
    if keyword not in KEYWORDS:
        raise ValueError(f"unknown instruction {keyword!r} in {line!r}; known: {', '.join(sorted(KEYWORDS))}")
    flags = []
    rest = rest.strip()
    while match := _FLAG.match(rest):
        flags.append((match[1], match[2]))
        rest = rest[match.end() :]
    return Instruction(keyword, rest.strip(), tuple(flags))


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}`; undefined variables become empty.

    >>> expand("${A}/bin:$B", {"A": "/opt"})
    '/opt/bin:'
    """
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)


def sent_to_the_build(path: str, ignored: list[str]) -> bool:
    """True if the lines of `.dockerignore` include a file in the build context; the last match decides.

    >>> lines = ["*", "!raybench", "**/*.pyc"]
    >>> [sent_to_the_build(path, lines) for path in ("runs/a", "raybench/cli/a.py", "raybench/a.pyc")]
    [False, True, False]
    """
    is_sent = True
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    for line in ignored:
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and any(_matches(name, pattern) for name in above):
            is_sent = line.startswith("!")
    return is_sent


def _matches(name: str, pattern: str) -> bool:
    """Docker's matching: `*` does not match a slash, `**` does."""
    if pattern.startswith("**/"):
        return fnmatchcase(name.rpartition("/")[2], pattern[3:])
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def ignored_lines(root: Path) -> list[str]:
    return (root / ".dockerignore").read_text().splitlines()
