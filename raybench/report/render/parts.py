"""What sections put on a page: paragraphs, lists, figures, tables. `page` turns them into HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from raybench.report.render.drawing import Drawing

MAX_LISTED = 40


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Absent:
    """Why something is not shown, in one sentence."""

    reason: str
    kind: ClassVar[str] = "absent"


@dataclass(frozen=True, slots=True)
class Listing:
    """A bulleted list; of more than MAX_LISTED items the first are shown."""

    items: Sequence[str]
    kind: ClassVar[str] = "listing"

    @property
    def shown(self) -> list[str]:
        """The first items, then how many more there are."""
        rest = len(self.items) - MAX_LISTED
        return [*self.items[:MAX_LISTED], *([f"and {rest} more"] if rest > 0 else [])]


@dataclass(frozen=True, slots=True)
class Code:
    """Preformatted text, collapsed."""

    title: str
    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, described in words for people who cannot see it."""

    drawing: Drawing
    alt: str
    caption: str
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True, slots=True)
class Table:
    """A frame with its caption, and a link to download it as `name`.csv."""

    frame: pl.DataFrame
    caption: str
    name: str
    is_folded: bool = False
    kind: ClassVar[str] = "table"


Part = Text | Absent | Listing | Code | Figure | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the parts below it."""

    anchor: str
    title: str
    parts: Sequence[Part]

    @property
    def is_empty(self) -> bool:
        """True if there is nothing but reasons why nothing is shown."""
        return all(isinstance(part, Absent) for part in self.parts)
