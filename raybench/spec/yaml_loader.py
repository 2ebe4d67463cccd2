"""YAML text → nodes and plain data. Refuses what YAML would silently change, and what no spec needs."""

import re
from typing import Any

import yaml

MAX_BYTES = 1_000_000
"""Size of a spec file; PyYAML needs ten seconds for a megabyte."""
MAX_DEPTH = 30
"""Levels of lists and mappings; the deepest key of a spec lies at 6."""
_TEXT, _PREFIX = "tag:yaml.org,2002:str", "tag:yaml.org,2002:"
_KINDS = {"int": "a whole number", "float": "a number"}
_INT = r"[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)"
_FLOAT = (
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+"  # 1e-3, a number in YAML 1.2.
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BOOL = r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"


class SpecLoader(yaml.SafeLoader):
    """SafeLoader for which dates and `1:30` are text (not 90), keys are text, and `1e-3` is a number."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Make every key a text; called before a mapping is built. Merge keys (`<<`) are plain keys."""
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = _TEXT

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a value; one that cannot be read is refused with its line.

        Raises:
            yaml.MarkedYAMLError: e.g. for a number with 5,000 digits.
        """
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            kind = _KINDS.get(node.tag.removeprefix(_PREFIX), "a value")
            problem = f"{str(node.value)[:40]!r} cannot be read as {kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


SpecLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    SpecLoader.add_implicit_resolver(_PREFIX + _name, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def refusal(text: str) -> str:
    """Why YAML text cannot be a spec although it may be YAML, as a sentence with its line; empty if it can.

    Refused are aliases, which could make a document recursive or huge, tags (`!!timestamp x`), and nesting so
    deep that reading it would fail.

    Raises:
        yaml.YAMLError: if it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=SpecLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):  # A glob that begins with * looks like one.
            return (
                f"line {line}: *{event.anchor} is an alias in YAML, which a spec must not use; "
                f"if it is a glob, quote it: '*{event.anchor}'."
            )
        if (tag := getattr(event, "tag", None)) is not None:
            tag = str(tag).replace(_PREFIX, "!!")
            return (
                f"line {line}: {tag!r:.60} is a tag in YAML, which a spec must not use; write the value only."
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return (
                    f"line {line}: lists and mappings are nested {depth} deep; a spec needs 6 levels at most."
                )
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return ""


def reader_problem(error: yaml.YAMLError, text: str) -> str:
    """A character that YAML does not admit, with its line."""
    position = getattr(error, "position", None)
    if not isinstance(position, int) or position >= len(text):
        return f"line 1: not YAML: {' '.join(str(error).split())}."
    line = text.count("\n", 0, position) + 1
    return f"line {line}: not YAML: unacceptable character {text[position]!a}; remove it."
