import numpy as np
import pytest
import torch

from raybench.core.preprocessing import Preprocessing
from raybench.data.dataset import Examples
from raybench.data.source import SourceSplit
from raybench.evaluation.finetune.decoded_images import DecodedImages
from tests.pixels import to_pixels

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(
    input_size=16, crop_pct=1.0, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


class Reader:
    """Draws images of different sizes and counts how often it is asked."""

    def __init__(self):
        self.num_reads = 0

    def __call__(self, position):
        self.num_reads += 1
        rng = np.random.default_rng(position)
        return rng.integers(0, 256, size=(20 + position, 24, 3), dtype=np.uint8)


def examples(reader, num=7):
    ids = [str(i) for i in range(num)]
    source = SourceSplit(ids=ids, targets=np.zeros(num, np.int64), read=reader, signature="drawn")
    return Examples(source, np.arange(num), ids)


@pytest.mark.parametrize("max_bytes", [2**20, 0], ids=["held", "decoded anew"])
def test_batches_are_the_images_in_the_order_asked_for(max_bytes):
    data = examples(Reader())
    images = DecodedImages(data, PREPROCESSING, num_threads=1, max_bytes=max_bytes)
    assert images.is_held == (max_bytes > 0)
    order = np.array([5, 0, 3, 6, 1])
    batches = list(images.batches(order, 2, CPU))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    expected = torch.stack([to_pixels(data.image(i), PREPROCESSING) for i in order])
    assert torch.equal(torch.cat(batches), expected)


def test_images_that_fit_are_decoded_once():
    reader = Reader()
    images = DecodedImages(examples(reader), PREPROCESSING, num_threads=2)
    for _ in range(3):
        list(images.batches(np.arange(7), 4, CPU))
    assert reader.num_reads == len(images) == 7


def test_the_limit_counts_resized_bytes():
    needed = 7 * 16 * 16 * 3
    assert DecodedImages(examples(Reader()), PREPROCESSING, num_threads=1, max_bytes=needed).is_held
    assert not DecodedImages(examples(Reader()), PREPROCESSING, num_threads=1, max_bytes=needed - 1).is_held
