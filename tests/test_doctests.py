"""Every example in a docstring gives what it says. (pytest's own collection would import modules twice.)"""

import doctest
import importlib
import pkgutil

import pytest

import raybench

OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
MODULES = [
    found.name
    for found in pkgutil.walk_packages(raybench.__path__, "raybench.")
    if not found.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0
