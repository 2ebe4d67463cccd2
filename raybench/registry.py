"""Names → entries. One instance per kind of thing; entries are added, never removed."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from raybench.errors import UnknownNameError

T = TypeVar("T")


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class Registry(Mapping[str, T]):
    """A read-mostly mapping that refuses duplicates and explains misses.

    >>> metrics = Registry("metric")
    >>> metrics.add("accuracy", max)
    >>> metrics["acuracy"]
    Traceback (most recent call last):
        ...
    raybench.errors.UnknownNameError: unknown metric 'acuracy'; did you mean 'accuracy'? ...
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
