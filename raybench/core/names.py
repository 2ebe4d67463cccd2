"""Names and other short texts that users give: what they may hold, and how the rest is shown."""

import unicodedata

MAX_NAME = 500
"""Characters of a name; a task may name a path (`knn@folder:PATH`)."""
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (zero-width, bidirectional), surrogate, line and paragraph ends."""


def name_problem(text: str, *, max_length: int = MAX_NAME, may_have_lines: bool = False) -> str:
    """Why a text cannot be a name, as the end of a sentence; empty if it can.

    Control characters would act on a terminal and break drawings; zero-width and bidirectional ones make
    two different names look alike.

    >>> name_problem("resnet50.a1_in1k"), name_problem("a\\x1b[2J")
    ('', "has the character '\\\\x1b' at position 2; remove it")
    """
    if len(text) > max_length:
        return f"has {len(text)} characters; at most {max_length} are allowed"
    if text.isprintable():
        return ""
    allowed = "\n\t" if may_have_lines else ""
    for position, character in enumerate(text, start=1):
        if unicodedata.category(character) in _UNSAFE and character not in allowed:
            return f"has the character {character!a} at position {position}; remove it"
    return ""


def printable(text: str) -> str:
    """The text with unsafe characters escaped, so that it can be printed on any terminal; lines are kept.

    >>> printable("a\\x1b[2J\\nb")
    'a\\\\x1b[2J\\nb'
    """
    if text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character) in _UNSAFE and character != "\n"
        else character
        for character in text
    )
