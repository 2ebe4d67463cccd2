import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.condition import CLEAN, Condition
from raybench.core.errors import UnknownNameError

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
SUBJECTS = st.from_regex(r"[a-z][a-z0-9_:+.()-]{0,12}", fullmatch=True) | st.just("")
VALUES = st.from_regex(r"[A-Za-z0-9/.+:-]{1,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("clean", CLEAN),
        ("fog(severity=3)", Condition("fog", settings=(("severity", "3"),))),
        ("shift(imagenet_r)", Condition("shift", "imagenet_r")),
        (
            "ood(near:cifar100+far:svhn,score=energy)",
            Condition("ood", "near:cifar100+far:svhn", (("score", "energy"),)),
        ),
        ("coverage(0.8)", Condition("coverage", "0.8")),
        (
            "corruption(fog+snow,severities=1+2)",
            Condition("corruption", "fog+snow", (("severities", "1+2"),)),
        ),
        ("shift(my (old) set, part 2)", Condition("shift", "my (old) set, part 2")),
    ],
)
def test_a_known_text_is_parsed_and_written_back(text, condition):
    assert Condition.parse(text) == condition
    assert str(condition) == text


@given(NAMES, SUBJECTS, st.lists(st.tuples(NAMES, VALUES), max_size=3))
def test_parsing_inverts_writing(kind, subject, settings):
    condition = Condition(kind, subject, tuple(settings))
    assert Condition.parse(str(condition)) == condition


def test_an_open_parenthesis_is_refused():
    with pytest.raises(UnknownNameError, match="is not of the form"):
        Condition.parse("fog(severity=3")
