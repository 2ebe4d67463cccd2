"""Bad images fail the affected pairs, the others are measured; a bad folder is refused before the start."""

import numpy as np
import pytest
from PIL import Image

from raybench.store.ledger import read_records
from raybench.store.measurements import read_measurements

pytestmark = pytest.mark.slow

SPEC = """
name: bad
backbones: [mini_resnet.random]
tasks: [knn@broken, knn@skipped]
datasets:
  broken: {folder: broken}
  skipped: {folder: broken, unreadable: skip}
search: {num_trials: 1}
budget: smoke
"""


def draw(folder, count):
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng([i, len(folder.name)]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def draw_splits(folder, *, num_horses=6):
    for split, count in (("train", 6), ("test", 3)):
        draw(folder / split / "cat", count)
        draw(folder / split / "horse", num_horses if split == "train" else count)


@pytest.fixture(scope="module")
def outcome(raybench, tmp_path_factory):
    """(Completed process, storage)."""
    folder = tmp_path_factory.mktemp("bad")
    draw_splits(folder / "broken")
    (folder / "broken" / "train" / "cat" / "2.png").write_bytes(b"\x89PNG and then nothing")
    (folder / "bad.yaml").write_text(SPEC)
    done = raybench("run", folder / "bad.yaml", "--storage", folder / "storage", "--num-cpus", 1)
    return done, folder / "storage"


def failure_of(outcome, dataset: str) -> str:
    lines = outcome[0].stderr.splitlines()
    return next(line for line in lines if line.startswith(f"failed    knn@{dataset} ·"))


def test_the_exit_code_is_1_when_some_pairs_failed(outcome):
    assert outcome[0].returncode == 1, outcome[0].stderr + outcome[0].stdout


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_empty_class_is_named_once_before_anything_starts(raybench, tmp_path, command):
    draw_splits(tmp_path / "broken", num_horses=0)
    (tmp_path / "bad.yaml").write_text(SPEC)
    storage = ["--storage", tmp_path / "storage"] if command == "run" else []
    done = raybench(command, tmp_path / "bad.yaml", *storage)
    assert done.returncode == 2
    assert done.stderr.count("class 'horse' has no image in its train split") == 2  # Of two datasets.
    assert not (tmp_path / "storage" / "experiments").exists()


def test_an_unreadable_image_is_named(outcome):
    line = failure_of(outcome, "broken")
    assert "UnreadableImageError" in line
    assert "2.png" in line


def test_with_unreadable_skip_the_image_is_skipped_and_counted(outcome):
    _, storage = outcome
    assert set(read_measurements(storage)["task"]) == {"knn@skipped"}
    (final,) = (r for r in read_records(storage, "bad") if r.stage == "final" and r.status == "completed")
    assert final.provenance["num_skipped"] == 1


def test_the_progress_counts_failed_pairs(outcome):
    assert "1 done, 0 running, 0 waiting, 1 failed" in outcome[0].stdout
