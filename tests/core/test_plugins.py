"""Registries take in rows of installed packages, and say what they refuse."""

import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from raybench.core.errors import UnknownNameError
from raybench.core.registry import Registry
from tests.plugins.installed import write_distribution


@dataclass(frozen=True)
class Toy:
    name: str
    size: int = 0


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(module, code, **entry points)`: a distribution with one module, version 1.0."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(module: str, code: str, **points: str) -> None:
        prelude = f"from {__name__} import Toy\n"
        Path(tmp_path / f"{module}.py").write_text(prelude + textwrap.dedent(code))
        write_distribution(tmp_path, module.replace("_", "-"), "1.0", {"raybench.toys": points})
        modules.append(module)

    modules: list[str] = []
    yield write
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def toys() -> Registry[Toy]:
    registry = Registry("toy", Toy)
    registry.add("ball", Toy("ball"))
    return registry


def test_a_row_an_iterable_of_rows_and_a_function_are_accepted(install, toys):
    install(
        "more_toys",
        """
        CAR = Toy("car")
        DOLLS = (Toy("doll"), Toy("bear"))
        def trains():
            yield Toy("steam")
        """,
        car="more_toys:CAR",
        dolls="more_toys:DOLLS",
        trains="more_toys:trains",
    )
    assert list(toys) == ["ball", "car", "doll", "bear", "steam"]
    assert (len(toys), toys["steam"].name, "bear" in toys, "sword" in toys) == (5, "steam", True, False)
    assert [toys.origin(name) for name in ("ball", "bear")] == ["raybench", "more-toys 1.0"]
    assert toys.load_plugins() == ()


def test_rows_of_raybench_are_found_without_importing_plugins(install, toys):
    install("slow_toys", "raise SystemExit('imported')", rows="slow_toys:ROWS")
    assert toys["ball"] == Toy("ball")


def test_a_plugin_may_look_up_rows_while_it_is_loaded(install, toys, monkeypatch):
    monkeypatch.setattr("builtins.toys", toys, raising=False)
    install(
        "larger_toys",
        """
        from dataclasses import replace
        BALL = replace(toys["ball"], name="large_ball")
        """,
        ball="larger_toys:BALL",
    )
    assert toys["large_ball"].name == "large_ball"


def test_a_second_thread_waits_until_all_rows_are_loaded(install, toys, monkeypatch):
    seen: list[list[str]] = []
    second = threading.Thread(target=lambda: seen.append(list(toys)))
    monkeypatch.setattr("builtins.second_thread", second, raising=False)
    install(
        "slow_toys",
        """
        second_thread.start()
        second_thread.join(0.1)
        CAR = Toy("car")
        """,
        car="slow_toys:CAR",
    )
    assert list(toys) == ["ball", "car"]
    second.join()
    assert seen == [["ball", "car"]]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library", r"ModuleNotFoundError: No module named 'no_such_library'"),
        ("", r"AttributeError: module 'broken_toys' has no attribute 'ROWS'"),
        ("ROWS = ['ball']", r"TypeError: expected rows of type Toy, got a str"),
        ("def ROWS(): raise OSError('no disk')", r"OSError: no disk"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_work(install, toys, code, reason):
    install("broken_toys", code, rows="broken_toys:ROWS")
    install("good_toys", "CAR = Toy('car')", car="good_toys:CAR")
    assert list(toys) == ["ball", "car"]
    sentence = rf"the plug-in broken-toys 1\.0 cannot be loaded: .*'broken_toys:ROWS'.*\({reason}\)"
    with pytest.raises(UnknownNameError, match=rf"unknown toy 'sword'\. .* {sentence}"):
        toys["sword"]
    assert len(toys.load_plugins()) == 1


def test_a_name_of_raybench_cannot_be_taken(install, toys):
    install("my_toys", "BALL = Toy('ball', 7)", ball="my_toys:BALL")
    assert list(toys) == ["ball"]
    assert toys["ball"] == Toy("ball")
    [failure] = toys.load_plugins()
    assert "toy 'ball' is added by raybench and by my-toys 1.0; rename it" in str(failure)


def test_a_name_that_two_plugins_add_belongs_to_neither(install, toys):
    for module in ("a_toys", "b_toys", "c_toys"):
        install(module, "CAR = Toy('car')", car=f"{module}:CAR")
    with pytest.raises(UnknownNameError, match=r"added by a-toys 1\.0 and by b-toys 1\.0 and by c-toys 1\.0"):
        toys["car"]
    assert list(toys) == ["ball"]
