import pytest
import torch

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo, find_dataset
from raybench.core.errors import UnreadableImageError
from raybench.core.preprocessing import Preprocessing
from raybench.data.batches import batches
from raybench.data.loading import load_dataset
from tests.pixels import to_pixels


def preprocessing(size=24, crop_pct=0.875, interpolation="bilinear"):
    return Preprocessing(
        input_size=size, crop_pct=crop_pct, interpolation=interpolation, mean=(0.5,) * 3, std=(0.25,) * 3
    )


def test_batches_keep_the_order_and_lose_nothing():
    val = load_dataset(find_dataset("digits")).val
    settings = preprocessing(8, 1.0)
    seen = list(batches(val, settings, 50, num_threads=3))
    assert [len(batch) for batch in seen] == [50] * 5 + [len(val) - 250]
    expected = torch.stack([to_pixels(val.image(i), settings) for i in range(len(val))])
    assert torch.equal(torch.cat(seen), expected)


def test_batches_are_floats_in_the_unit_interval_with_channels_last_in_memory():
    val = load_dataset(find_dataset("digits")).val
    batch = next(iter(batches(val, preprocessing(32), 16)))
    assert batch.shape == (16, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_at_most_two_batches_are_decoded_ahead_of_one_thread():
    val = load_dataset(find_dataset("digits")).val
    reads = []
    read = val.image
    val.image = lambda i: reads.append(i) or read(i)
    stream = batches(val, preprocessing(8, 1.0), 10, num_threads=1)
    next(stream)
    stream.close()
    assert len(reads) <= 40


def test_an_image_damaged_after_loading_is_named(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": {"a": 9}, "test": {"a": 3}})
    dataset = load_dataset(DatasetInfo(name="f", source=FolderSource(str(tmp_path))))
    (tmp_path / "train" / dataset.train.ids[4]).write_bytes(b"gone bad")
    with pytest.raises(UnreadableImageError, match=dataset.train.ids[4]):
        list(batches(dataset.train, preprocessing(), 2))
