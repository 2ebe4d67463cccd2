"""Parts of a page → one HTML text that needs nothing else: no script, no font, no request."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import polars as pl
from great_tables import GT

from raybench.report.render.charts import Drawing

MAX_ROWS = 60
"""A longer table shows its first rows; its CSV holds all of them."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Absent:
    """Why there is nothing to see here, in one sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Paragraphs in a list."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be read as it stands, folded away."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and what it shows in words, for those who cannot see it."""

    drawing: Drawing
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Table:
    """A frame with its title; `name` is the file name of its CSV."""

    frame: pl.DataFrame
    caption: str
    name: str
    is_folded: bool = False


Part = Text | Absent | Listing | Code | Figure | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    anchor: str
    title: str
    parts: Sequence[Part]


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page; sections that can show nothing stand together at its end, each with its reason."""
    style = resources.files("raybench.report.render").joinpath("page.css").read_text(encoding="utf-8")
    shown = [section for section in sections if not _is_empty(section)]
    empty = [section for section in sections if _is_empty(section)]
    named = [(section.anchor, section.title) for section in shown]
    named += [("absent", "What is not shown")] if empty else []
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in named)
    body = "\n".join([*map(_section, shown), *([_not_shown(empty)] if empty else [])])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p></header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main" tabindex="-1">
{body}
</main>
<footer class="soft">Written by raybench. This page holds everything it shows and asks no server.</footer>
</body>
</html>
"""


def csv_text(frame: pl.DataFrame) -> str:
    """`frame` as CSV; what is a list becomes its items, `; ` between them."""
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    return frame.with_columns(pl.col(name).list.join("; ") for name in lists).write_csv()


def _is_empty(section: Section) -> bool:
    return all(isinstance(part, Absent) for part in section.parts)


def _not_shown(sections: Sequence[Section]) -> str:
    rows = "".join(
        f'<dt id="{section.anchor}">{escape(section.title)}</dt>'
        + "".join(f"<dd>{escape(part.reason)}</dd>" for part in section.parts if isinstance(part, Absent))
        for section in sections
    )
    return (
        '<section id="absent" aria-labelledby="absent-title">\n<h2 id="absent-title">What is not shown</h2>\n'
        f"<dl>{rows}</dl>\n</section>"
    )


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    label = f"{section.anchor}-title"
    return (
        f'<section id="{section.anchor}" aria-labelledby="{label}">\n'
        f'<h2 id="{label}">{escape(section.title)}</h2>\n{parts}\n</section>'
    )


def _part(part: Part) -> str:
    if isinstance(part, Text):
        return f"<p>{escape(part.text)}</p>"
    if isinstance(part, Absent):
        return f'<p class="absent">Not shown: {escape(part.reason)}</p>'
    if isinstance(part, Listing):
        return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in part.items)}</ul>"
    if isinstance(part, Code):
        inner = f'<pre tabindex="0" aria-label="{escape(part.title)}">{escape(part.text)}</pre>'
        return f"<details><summary>{escape(part.title)}</summary>{inner}</details>"
    if isinstance(part, Figure):
        return (
            f'<figure><div class="scroll" tabindex="0" role="img" aria-label="{escape(part.alt)}">'
            f"{_hidden(part.drawing.wide, 'wide')}{_hidden(part.drawing.narrow, 'narrow')}</div>"
            f"<figcaption>{escape(part.caption)}</figcaption></figure>"
        )
    return _table(part)


def _hidden(svg: str, kind: str) -> str:
    """The drawing without the labels of its single marks: its words are those around it."""
    bare = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", svg)
    return bare.replace("<svg ", f'<svg class="{kind}" aria-hidden="true" ', 1).replace(
        ' class="marks"', "", 1
    )


def _table(part: Table) -> str:
    content = base64.b64encode(csv_text(part.frame).encode()).decode()
    link = (
        f'<p class="csv"><a download="{part.name}.csv" href="data:text/csv;charset=utf-8;base64,{content}">'
        f"Download {part.name}.csv</a> <span class='soft'>({part.frame.height} rows)</span></p>"
    )
    shown = part.frame.head(MAX_ROWS)
    note = f" The first {MAX_ROWS} of {part.frame.height} rows." if part.frame.height > MAX_ROWS else ""
    caption = f"<caption>{escape(part.caption + note)}</caption>"
    table = great_table(shown).replace("<thead>", f"{caption}<thead>", 1)
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(part.caption)}">'
    whole = f"{region}{table}</div>{link}"
    if not part.is_folded:
        return whole
    return f"<details><summary>Table: {escape(part.caption)}</summary>{whole}</details>"


def great_table(frame: pl.DataFrame) -> str:
    """A `<table>` by great_tables, without its own style sheet and its ids, which would repeat on a page."""
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    frame = frame.with_columns(pl.col(name).list.join(", ") for name in lists)
    flags = [name for name, dtype in frame.schema.items() if dtype == pl.Boolean]
    yes_or_no = {True: "yes", False: "no"}
    frame = frame.with_columns(pl.col(name).replace_strict(yes_or_no, default=None) for name in flags)
    frame = frame.rename({name: _readable(name) for name in frame.columns if "@" not in name})
    table = GT(frame)
    for decimals, names in _decimals(frame).items():
        table = table.fmt_number(columns=names, decimals=decimals)
    html = str(table.sub_missing(missing_text="–").as_raw_html())
    found = re.search(r"<table.*</table>", html, flags=re.DOTALL)
    bare = re.sub(
        r' (?:id|headers|aria-labelledby|data-[a-z-]+)="[^"]*"', "", found.group(0) if found else ""
    )
    return re.sub(r' (?:rowspan|colspan)="1"', "", bare)


def _readable(name: str) -> str:
    """A column's name as a heading."""
    return name.replace("_", " ").replace("zscore", "z-score").replace("params m", "parameters, M")


def _decimals(frame: pl.DataFrame) -> dict[int, list[str]]:
    """Decimals → columns of numbers: none where all are whole, fewer where they are large."""
    found: dict[int, list[str]] = {}
    for name, dtype in frame.schema.items():
        if not dtype.is_numeric():
            continue
        values = frame[name].drop_nulls()
        largest = float(values.abs().max() or 0.0)  # type: ignore[arg-type]
        if dtype.is_integer() or (values == values.round()).all():
            decimals = 0
        else:
            decimals = 0 if largest >= 1000 else 1 if largest >= 100 else 3
        found.setdefault(decimals, []).append(name)
    return found
