"""Bad images: the affected pairs fail with a reason, the others are measured."""

import numpy as np
import pytest
from PIL import Image

from raybench.store.ledger import read_records
from raybench.store.measurements import read_measurements

pytestmark = pytest.mark.slow

SPEC = """
name: bad
backbones: [mini_resnet.random]
tasks: [knn@empty, knn@broken, knn@skipped]
datasets:
  empty: {folder: empty}
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


@pytest.fixture(scope="module")
def outcome(raybench, tmp_path_factory):
    """(Completed process, storage)."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("empty", "broken"):
        for split, count in (("train", 6), ("test", 3)):
            draw(folder / name / split / "cat", count)
            draw(folder / name / split / "horse", 0 if (name, split) == ("empty", "train") else count)
    (folder / "broken" / "train" / "cat" / "2.png").write_bytes(b"\x89PNG and then nothing")
    (folder / "bad.yaml").write_text(SPEC)
    done = raybench("run", folder / "bad.yaml", "--storage", folder / "storage", "--num-cpus", 1)
    return done, folder / "storage"


def failure_of(outcome, dataset: str) -> str:
    lines = outcome[0].stderr.splitlines()
    return next(line for line in lines if line.startswith(f"failed    knn@{dataset} ·"))


def test_the_exit_code_is_1_when_some_pairs_failed(outcome):
    assert outcome[0].returncode == 1, outcome[0].stderr + outcome[0].stdout


def test_an_empty_class_is_named(outcome):
    line = failure_of(outcome, "empty")
    assert "DataError" in line
    assert "'horse'" in line


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
    assert "1 done, 0 running, 0 waiting, 2 failed" in outcome[0].stdout
