"""A YAML file as plain data (scalars, lists, mappings) with line numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raybench.core.errors import SpecError

Location = tuple[str | int, ...]
"""Keys and list positions from the document's root: `("search", "num_trials")`, `("backbones", 0)`."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number, as YAML 1.2 does; PyYAML reads it as text."""


_Loader.yaml_implicit_resolvers = {
    sign: list(pairs) for sign, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+"),
    list("-+.0123456789"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Content of a spec file with the line of every key."""

    path: Path
    data: dict[str, Any]
    root: yaml.Node
    problems: list[str] = field(default_factory=list)
    """Keys given twice; YAML would silently keep the last."""

    def line(self, location: Location) -> int:
        """Line (from 1) of a location, or of its nearest existing parent."""
        line, node = self.root.start_mark.line, self.root
        for step in location:
            child = _child(node, step)
            if child is None:
                break
            line, node = child
        return line + 1

    def resolve(self, path: str) -> Path:
        """Resolve a path of the spec relative to the spec file; expand `~`."""
        return self.path.parent / Path(path).expanduser()


def read_document(path: Path) -> Document:
    """Parse a spec file.

    Raises:
        SpecError: if the file cannot be read, is not YAML, or is not a mapping of keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), [_unreadable(path, error)]) from error
    try:
        _refuse_aliases(path, text)
        root = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more number format.
    except yaml.MarkedYAMLError as error:
        raise SpecError(str(path), [_syntax_problem(error, text)]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(str(path), [f"not YAML: {' '.join(str(error).split())}."]) from error
    if not isinstance(root, yaml.MappingNode) or not isinstance(data, dict):
        met = "an empty file" if root is None else f"{data!r:.60}"
        problem = f"line 1: a spec is a mapping of keys (name: ..., backbones: [...]), got {met}."
        raise SpecError(str(path), [problem])
    return Document(path=path, data=data, root=root, problems=list(_repeated_keys(root)))


def _refuse_aliases(path: Path, text: str) -> None:
    """Refuse YAML aliases, which could make a document recursive or huge.

    A glob that begins with * looks like an alias, so the hint is the same as for a syntax error.
    """
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            problem = f"line {line}: *{event.anchor} is an alias in YAML, which a spec must not use"
            raise SpecError(str(path), [f"{problem}; if it is a glob, quote it: '*{event.anchor}'."])


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        near = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        listing = f"; {path.parent} has {', '.join(near[:8])}" if near else ""
        return f"no such file{listing}."
    if isinstance(error, IsADirectoryError):
        return "this is a folder; name the YAML file in it."
    if isinstance(error, UnicodeDecodeError):
        return f"not a text file: byte {error.start} is not UTF-8."
    return f"the file cannot be read: {getattr(error, 'strerror', None) or error}."


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    lines = text.splitlines()
    shown = lines[line].strip() if line < len(lines) else "the end of the file"
    hint = _syntax_hint(error) or "."
    return f"line {line + 1}: not YAML: {error.problem or error.context}, at {shown!r}{hint}"


def _syntax_hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "'@'" in problem:
        return "; YAML reserves @, so quote a group: '@mini'."
    if "alias" in problem or "'*'" in problem:
        return "; a leading * is an alias in YAML, so quote a glob: '*_small'."
    if "'\\t'" in problem:
        return "; indent with spaces, not tabs."
    if "flow sequence" in (error.context or ""):
        return "; is a comma or a closing ] missing?"
    if "mapping values are not allowed" in problem:
        return "; is a quote or a line break missing?"
    return ""


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    """(Line, node) of a mapping's key or a list's item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    return None


def _repeated_keys(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in first:
                yield f"line {line}: key {key.value!r} is already given in line {first[key.value]}; keep one."
            first.setdefault(key.value, line)
            yield from _repeated_keys(value)
