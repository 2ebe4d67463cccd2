"""The law of the fuzzing suite: a right value, or a RaybenchError that names what, where and what to do."""

import contextlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.cli import main
from raybench.core.errors import RaybenchError

SHORT, LONG = 60, 2000
"""Inputs of a test in CI, and of one marked `fuzz`."""
TOTALS: defaultdict[str, Counter[str]] = defaultdict(Counter)
"""Subject → outcome → number of inputs."""
INTERNAL = re.compile(r"pydantic|Traceback|\bNoneType\b|object at 0x|should be a valid|\w+Entry\b|SpecShape")
"""What a message for users must not contain."""


def require_plain(message: str) -> None:
    """A message is a sentence without control characters and names of code."""
    assert len(message) > 20, message
    assert all(line.isprintable() for line in message.split("\n")), ascii(message)
    assert not INTERNAL.search(message), message


def accepted(subject: str, action: Callable[[], Any]) -> Any:
    """The action's value, or None if it raises a RaybenchError; any other exception is a failure."""
    try:
        value = action()
    except RaybenchError as error:
        TOTALS[subject][type(error).__name__] += 1
        require_plain(str(error))
        return None
    TOTALS[subject]["accepted"] += 1
    return value


def exit_code(subject: str, arguments: Sequence[str]) -> int:
    """Exit code of a command, 0 or 2; anything else is a failure, which shows its traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    TOTALS[subject][f"exit {code}"] += 1
    if code == 70:
        file = Path(err.getvalue().strip().rpartition(" in ")[2])
        text = file.read_text()
        file.unlink()
        pytest.fail(text)
    assert code in (0, 2), (code, err.getvalue())
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    if code == 2:
        assert err.getvalue().startswith("raybench: ")
        require_plain(err.getvalue())
    return code


def fuzzed(*strategies: st.SearchStrategy[Any], short: int = SHORT, long: int = LONG) -> Callable[..., Any]:
    """Decorate a test to run on few inputs in CI; `.long` is the same test on many, to be marked `fuzz`."""

    def decorate(test: Callable[..., None]) -> Any:
        few = settings(max_examples=short)(given(*strategies)(test))
        few.long = pytest.mark.fuzz(settings(max_examples=long)(given(*strategies)(test)))
        return few

    return decorate


@st.composite
def edited_text(draw: st.DrawFn, originals: Sequence[str], snippets: Sequence[str]) -> str:
    """One of the originals with 1 to 6 edits: inserted snippets, deleted or repeated parts."""
    text = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 0, 1, 1, 3, 10, 40])))
        piece = draw(st.sampled_from([*snippets, "", text[start:end] * 2]))
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def edited_bytes(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """One of the originals, cut short or with 1 to 6 bytes replaced, inserted or deleted."""
    content = bytearray(draw(st.sampled_from(originals)))
    if draw(st.integers(0, 4)) == 0:
        return bytes(content[: draw(st.integers(0, len(content)))])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["replace", "replace", "replace", "insert", "delete"]))
        piece = draw(st.binary(min_size=1, max_size=4))
        content[at : at + (0 if kind == "insert" else len(piece))] = b"" if kind == "delete" else piece
    return bytes(content)


ODD_VALUES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *("", " ", "a", "no", "1:30", "~nosuchuser/x", "x" * 300),
    *("x" * 600, "/", "..", "*", "@", "@mini", "[", "a@b"),
    *("\x1b[2J", "\x00", "a\u202eb", "\u200b", "\ud800"),
    *("a\nb", "é", "e\u0301", "=cmd|' /C calc'!A0", "%2F?#"),
    *("knn@digits", "knn@folder:", "knn@hf:x", "mini_vit.mae"),
    *("mini_*", "resnet18", "x.random", "2020-99-99"),
    *([], {}, [[]], [{}], {"a": 1}, {"": ""}, {"name": "x"}, ["a", "a"], [1, "a", None]),
)
"""Values that programs and people write by mistake, or to do harm."""
