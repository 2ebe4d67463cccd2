"""Cells of CSV exports that a spreadsheet would run as a formula, and back."""

import re

FORMULA = r"^[=+\-@\t\r]"
"""Beginnings of cells that spreadsheets take for formulas (OWASP, "CSV Injection")."""
NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
"""Numbers begin with these signs too, and stay as they are."""
ESCAPED = r"^'([=+\-@])"
"""A cell that was neutralised; its quote is removed when a table is read."""


def neutral_cell(text: str) -> str:
    """Put `'` before a text that a spreadsheet would run.

    >>> neutral_cell("=cmd|' /C calc'!A0"), neutral_cell("-0.5"), neutral_cell("resnet50.a1_in1k")
    ("'=cmd|' /C calc'!A0", '-0.5', 'resnet50.a1_in1k')
    """
    return f"'{text}" if re.search(FORMULA, text) and not re.search(NUMBER, text) else text
