import json
import subprocess
import sys

import pytest

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.mini import ARCHITECTURES, MINI


def test_names_are_unique_and_every_architecture_has_a_random_twin() -> None:
    names = [info.name for info in MINI]
    assert len(set(names)) == len(names)
    assert {f"{architecture}.random" for architecture in ARCHITECTURES} <= set(names)


@pytest.mark.parametrize("info", MINI, ids=lambda info: info.name)
def test_rows_are_complete_and_json_holds_them(info: BackboneInfo) -> None:
    assert json.loads(json.dumps(dict(info.kwargs))) == info.kwargs
    assert info.groups == ("mini",)
    assert info.params_m is not None
    assert 0.1 <= info.params_m <= 0.6
    assert info.preprocessing["input_size"] == info.input_size == 32


@pytest.mark.parametrize("info", MINI, ids=lambda info: info.name)
def test_only_random_twins_have_no_file_and_no_pretraining(info: BackboneInfo) -> None:
    is_twin = info.name.endswith(".random")
    assert (info.weights == "random") == is_twin
    assert info.checkpoint == (None if is_twin else f"package:{info.name}.safetensors")
    assert (info.pretrain_images == 0) == (info.method == "none") == is_twin


def test_random_twins_share_architecture_and_preprocessing() -> None:
    twins = {info.timm: info for info in MINI if info.weights == "random"}
    for info in MINI:
        assert info.kwargs == twins[info.timm].kwargs
        assert info.preprocessing == twins[info.timm].preprocessing


def test_supervised10_uses_a_tenth_of_the_images() -> None:
    images = {info.name: info.pretrain_images for info in MINI}
    assert images["mini_vit.supervised"] == 10 * (images["mini_vit.supervised10"] or 0)


def test_the_table_loads_neither_torch_nor_timm() -> None:
    code = "import raybench.catalog.mini, sys; sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
