"""Sections → one HTML text that needs nothing else: no script, no font, no request."""

import functools
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from raybench.report.render.parts import Section
from raybench.report.render.tables import table_view


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page; sections that show nothing are listed at its end, each with its reason."""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            shown=[section for section in sections if not section.is_empty],
            empty=[section for section in sections if section.is_empty],
        )
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("raybench.report.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["table_view"] = table_view
    return environment
