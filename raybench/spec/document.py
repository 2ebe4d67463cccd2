"""A YAML file as plain data (scalars, lists, mappings) with line numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raybench.core.errors import SpecError
from raybench.core.names import name_problem
from raybench.core.paths import expand_path
from raybench.spec.yaml_loader import MAX_BYTES, SpecLoader, reader_problem, refusal

Location = tuple[str | int, ...]
"""Keys and list positions from the document's root: `("search", "num_trials")`, `("backbones", 0)`."""


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

    def written(self, location: Location) -> str | None:
        """The text of a scalar as the file has it (`no`, which is False); None if there is none there."""
        node = self._node(location)
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _node(self, location: Location) -> yaml.Node | None:
        node = self.root
        for step in location:
            if (child := _child(node, step)) is None:
                return None
            node = child[1]
        return node

    def has(self, location: Location) -> bool:
        """Whether there is such a key or item."""
        return self._node(location) is not None

    def resolve(self, path: str) -> Path:
        """A path of the spec, relative to the spec file; `~` is expanded.

        Raises:
            DataError: if there can be no such path.
        """
        return expand_path(path, self.path.parent)


def read_document(path: Path) -> Document:
    """Parse a spec file.

    Raises:
        SpecError: if the file cannot be read, is not YAML, or is not a mapping of keys.
    """
    text = _read_text(path)
    try:
        if problem := refusal(text):
            raise SpecError(str(path), [problem])
        root = yaml.compose(text, Loader=SpecLoader)
        data = yaml.load(text, Loader=SpecLoader)  # noqa: S506 - a SafeLoader.
    except yaml.MarkedYAMLError as error:
        raise SpecError(str(path), [_syntax_problem(error, text)]) from error
    except yaml.YAMLError as error:
        raise SpecError(str(path), [reader_problem(error, text)]) from error
    if not isinstance(root, yaml.MappingNode) or not isinstance(data, dict):
        met = "an empty file" if root is None else f"{data!r:.60}"
        problem = f"line 1: a spec is a mapping of keys (name: ..., backbones: [...]), got {met}."
        raise SpecError(str(path), [problem])
    if problems := list(_unsafe_texts(root)):
        raise SpecError(str(path), problems)
    return Document(path=path, data=data, root=root, problems=list(_repeated_keys(root)))


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            problem = f"the file has {path.stat().st_size:,} bytes; a spec has at most {MAX_BYTES:,}."
            raise SpecError(str(path), [problem])
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SpecError(str(path), [_unreadable(path, error)]) from error


_FREE_TEXT = ("citation", "licence")
"""Keys whose text may have lines and any length."""


def _unsafe_texts(node: yaml.Node, key: str = "") -> Iterator[str]:
    """A sentence for every text below a node that has control characters or is too long."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _unsafe_texts(item, key)
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _unsafe_texts(name)
            yield from _unsafe_texts(value, name.value)
    elif key in _FREE_TEXT:
        if problem := name_problem(node.value, max_length=MAX_BYTES, may_have_lines=True):
            yield f"line {node.start_mark.line + 1}: `{key}` {problem}."
    elif problem := name_problem(node.value):
        yield f"line {node.start_mark.line + 1}: {node.value!a:.60} {problem}."


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
    shown = shown if len(shown) <= 80 else f"{shown[:60]}…"
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
