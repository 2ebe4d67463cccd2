"""A spec written in the test itself, and its problems."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raybench.core.errors import SpecError
from raybench.spec import load_spec

GOOD = """\
name: good
backbones: [mini_vit.supervised, mini_resnet.supervised]
tasks: [linear_probe@digits, knn@digits]
search: {sampler: qmc, num_trials: 4}
budget: quick
seeds: [0, 1]
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a spec; keyword arguments replace whole lines of GOOD by key, or add them."""

    def _write(text: str | None = None, **lines: str) -> Path:
        if text is None:
            old = dict(line.split(": ", 1) for line in GOOD.splitlines())
            text = "".join(f"{key}: {value}\n" for key, value in {**old, **lines}.items())
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return path

    return _write


@pytest.fixture
def problems(write: Callable[..., Path]) -> Callable[..., list[str]]:
    """The problems of a spec written with `write`; fails if it has none."""

    def _problems(text: str | None = None, **lines: str) -> list[str]:
        with pytest.raises(SpecError) as caught:
            load_spec(write(text, **lines))
        return caught.value.problems

    return _problems


@pytest.fixture(autouse=True)
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace timm's list of names, needed only for names without a row, by a short one."""
    import sys
    from types import ModuleType

    fake = ModuleType("raybench.backbones.names")
    known = ["resnet26", "resnet26.bt_in1k", "resnet18", "resnet18.a1_in1k"]
    fake.timm_names = lambda: known  # type: ignore[attr-defined]
    fake.is_timm_name = lambda name: name in known  # type: ignore[attr-defined]
    fake.successor_of = {"resnet26old": "resnet26.bt_in1k"}.get  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "raybench.backbones.names", fake)
