"""Names → entries. One instance per kind of thing; entries are added, never removed."""

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from raybench.core.errors import UnknownNameError

T = TypeVar("T")


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def load_entry_point(address: str) -> Any:
    """The object that `package.module:name` addresses.

    Rows of the catalogue name their implementation this way, so that listing them imports nothing heavy.

    >>> load_entry_point("math:sqrt")(4.0)
    2.0

    Raises:
        UnknownNameError: if there is no such module or name. A module that fails to import raises its own
            error.
    """
    module, colon, name = address.partition(":")
    if not (module and colon and name):
        raise UnknownNameError(f"entry point {address!r} is not of the form 'package.module:name'.")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UnknownNameError(f"entry point {address!r}: there is no module {error.name!r}.") from error
        raise
    if not hasattr(found, name):
        raise UnknownNameError(
            f"entry point {address!r}: {module!r} has no {name!r}{suggest(name, vars(found))}."
        )
    return getattr(found, name)


class Registry(Mapping[str, T]):
    """A read-mostly mapping that refuses duplicates and explains misses.

    >>> metrics = Registry("metric")
    >>> metrics.add("accuracy", max)
    >>> metrics["acuracy"]
    Traceback (most recent call last):
        ...
    raybench.core.errors.UnknownNameError: unknown metric 'acuracy'; did you mean 'accuracy'? ...
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"{self._kind} {name!r} is already taken by {self._entries[name]!r}")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self._explain_miss(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _explain_miss(self, name: str) -> str:
        hint = suggest(name, self._entries) or "."
        return f"unknown {self._kind} {name!r}{hint} `raybench list {self._kind}s` prints all {len(self)}."
