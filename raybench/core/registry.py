"""Registries: name → row of the catalogue, one instance per kind; and entry points of rows."""

import difflib
import importlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from raybench.core.errors import PluginError, UnknownNameError
from raybench.core.plugins import PluginRow, load_plugins

T = TypeVar("T")


def suggest(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?` if a known name is similar, else an empty string."""
    near = difflib.get_close_matches(name, list(candidates), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def load_entry_point(address: str) -> Any:
    """Import the object at `package.module:name`.

    Catalogue rows name their implementation this way, so that listing them imports nothing heavy.

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
        namespace = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UnknownNameError(f"entry point {address!r}: there is no module {error.name!r}.") from error
        raise
    if not hasattr(namespace, name):
        raise UnknownNameError(
            f"entry point {address!r}: {module!r} has no {name!r}{suggest(name, vars(namespace))}."
        )
    return getattr(namespace, name)


class Registry(Mapping[str, T]):
    """A mapping that refuses duplicate names, explains unknown ones and includes rows of plug-ins.

    Plug-ins are loaded at the first iteration and at the first look-up of a name that raybench does not have
    itself. A plug-in that fails does not affect the others: see `load_plugins`.

    >>> metrics = Registry("metric")
    >>> metrics.add("accuracy", max)
    >>> metrics["acuracy"]
    Traceback (most recent call last):
        ...
    raybench.core.errors.UnknownNameError: unknown metric 'acuracy'; did you mean 'accuracy'? ...
    """

    def __init__(self, kind: str, row_type: type[T] | None = None) -> None:
        """
        Args:
            kind: singular noun; plug-ins register under the entry-point group `raybench.{kind}s`.
            row_type: type of the rows that plug-ins may add; None: no plug-ins.
        """
        self._kind = kind
        self._row_type = row_type
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._failures: list[PluginError] = []
        self._lock = threading.RLock()

    def add(self, name: str, entry: T) -> None:
        """Add a row of raybench itself.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self._kind} {name!r} is already taken by {self._entries[name]!r}")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self.load_plugins()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self._explain_miss(name)) from None

    def __iter__(self) -> Iterator[str]:
        self.load_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        self.load_plugins()
        return len(self._entries)

    def origin(self, name: str) -> str:
        """`raybench`, or name and version of the distribution whose plug-in added the row."""
        self[name]  # Raises if there is none.
        return self._origins.get(name, "raybench")

    def load_plugins(self) -> tuple[PluginError, ...]:
        """Add the rows of plug-ins, once; return failures: broken plug-ins and names claimed twice."""
        with self._lock:  # Another thread waits until the rows are complete.
            if self._row_type is not None:
                row_type, self._row_type = self._row_type, None  # First: plug-ins may look names up.
                self._add_plugins(row_type)
            return tuple(self._failures)

    def _add_plugins(self, row_type: type[T]) -> None:
        plugins, self._failures = load_plugins(f"raybench.{self._kind}s", row_type)
        by_name: dict[str, list[PluginRow]] = {}
        for plugin in plugins:
            by_name.setdefault(plugin.row.name, []).append(plugin)
        for name, claims in by_name.items():
            origins = [*(["raybench"] if name in self._entries else []), *(claim.origin for claim in claims)]
            if len(origins) == 1:
                self._entries[name], self._origins[name] = claims[0]
            else:
                self._failures.append(
                    PluginError(
                        f"{self._kind} {name!r} is added by {' and by '.join(origins)}; rename it in one of "
                        "them, or uninstall one."
                    )
                )

    @property
    def failure_notes(self) -> str:
        """Sentences on plug-ins that failed, to append to the message of an unknown name."""
        return "".join(f" Note: {failure}" for failure in self.load_plugins())

    def _explain_miss(self, name: str) -> str:
        hint = suggest(name, self._entries) or "."
        listing = f"`raybench list {self._kind}s` prints all {len(self)}."
        return f"unknown {self._kind} {name!r}{hint} {listing}{self.failure_notes}"
