"""Specs in README and docs: every YAML block is accepted as it is."""

import re
from pathlib import Path

import pytest
import yaml

from raybench.spec import load_spec, make_plan

README = Path(__file__).parents[2] / "README.md"
PAGES = (README, README.parent / "docs" / "search.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(
        r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
]
BASE = {
    "name": "from-the-readme",
    "backbones": ["vit_small_patch16_224.augreg_in21k", "@mini"],
    "tasks": ["linear_probe@digits", "finetune@digits"],
}
"""For blocks that show some keys only."""


def make_folders(entry: dict, folder: Path) -> None:
    """The images that a block's datasets name, one per class and split."""
    for split in ("test",) if entry.get("test_only") else ("train", "val", "test"):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            (folder / split / label / "1.png").write_bytes(b"")


def test_there_are_blocks():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split(":")[0] for block in BLOCKS])
def test_a_block_is_a_spec_or_part_of_one(block, tmp_path):
    content = {**BASE, **yaml.safe_load(block)}
    for entry in content.get("datasets", {}).values():
        if entry.get("queries"):
            entry.pop("queries")  # tests/spec/test_queries.py has layouts of their own.
        entry["folder"] = str(tmp_path / entry["folder"].strip("/"))
        make_folders(entry, Path(entry["folder"]))
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(content))
    assert make_plan(load_spec(path, needs_data=False)).search_trials > 0
