"""Damaged images, ground truth and weight files are read right, or refused with a plain sentence."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from raybench.backbones.state_dict_file import read_state_dict
from raybench.catalog.dataset_info import Queries
from raybench.data.decoding import decode
from raybench.data.query_lists import read_json

from .law import ODD_VALUES, accepted, edited_bytes, edited_text, fuzzed

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
TRUTH = {
    "imlist": ["a", "b", "c"],
    "qimlist": ["q", "r"],
    "gnd": [
        {"easy": [0], "hard": [1], "junk": [2], "bbx": [0, 0, 5, 5]},
        {"easy": ["b"], "hard": [], "junk": [], "bbx": [1.5, 1, 4, 4]},
    ],
}


def _encoded() -> list[bytes]:
    """The same picture in several formats and modes."""
    image = Image.fromarray(PIXELS)
    pictures = []
    for file_format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF"):
        buffer = io.BytesIO()
        (image.convert("P") if file_format == "GIF" else image).save(buffer, file_format)
        pictures.append(buffer.getvalue())
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        buffer = io.BytesIO()
        (image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    return pictures


@fuzzed(edited_bytes(_encoded()), short=300, long=4000)
def test_a_damaged_image_is_decoded_or_refused(content):
    image = accepted("images", lambda: decode(content, "picture"))
    if image is not None:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in "abcqr":
        Image.fromarray(PIXELS).save(folder / f"{name}.png")
    return folder


@st.composite
def changed_truth(draw: st.DrawFn) -> str:
    """TRUTH with one value replaced by an odd one."""
    truth = json.loads(json.dumps(TRUTH))
    odd = draw(st.sampled_from(ODD_VALUES))
    parent, key = draw(st.sampled_from(list(_places(truth))))
    parent[key] = odd
    return json.dumps(truth)


def _places(content):
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])


def _check_truth(photos: Path, text: str) -> None:
    (photos / "gnd.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    queries = accepted("ground truth", lambda: read_json(photos, Queries(kind="listed", crop=True)))
    if queries is not None:
        for query in range(len(queries.queries)):
            assert all(0 <= i < len(queries.gallery) for i in queries.truth.positives(query))


SNIPPETS = (
    *('"', ",", "[", "]", "{", "}", ":", "0", "-1", "1e9"),
    *("null", "NaN", "true", "\x00", "[" * 2000, "9" * 5000, "a"),
)


@fuzzed(edited_text([json.dumps(TRUTH)], SNIPPETS), short=100)
def test_ground_truth_with_changed_text_is_read_or_refused(photos, text):
    _check_truth(photos, text)


@fuzzed(changed_truth(), short=100)
def test_ground_truth_with_changed_values_is_read_or_refused(photos, text):
    _check_truth(photos, text)


WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2), "n": torch.tensor(3)}


def _saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, buffer)
    return buffer.getvalue()


def _check_weights(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    state_dict = accepted("checkpoints", lambda: read_state_dict(path))
    if state_dict is not None:
        assert all(isinstance(key, str) for key in state_dict)
        assert all(isinstance(value, torch.Tensor) for value in state_dict.values())


@fuzzed(edited_bytes([save(WEIGHTS)]), short=100)
def test_a_damaged_safetensors_file_is_read_or_refused(photos, content):
    _check_weights(photos / "weights.safetensors", content)


@fuzzed(edited_bytes([_saved()]), short=100)
def test_a_damaged_torch_file_is_read_or_refused(photos, content):
    _check_weights(photos / "weights.pth", content)


test_many_damaged_images = test_a_damaged_image_is_decoded_or_refused.long
test_many_changed_texts_of_ground_truth = test_ground_truth_with_changed_text_is_read_or_refused.long
test_many_changed_values_of_ground_truth = test_ground_truth_with_changed_values_is_read_or_refused.long
test_many_damaged_safetensors_files = test_a_damaged_safetensors_file_is_read_or_refused.long
test_many_damaged_torch_files = test_a_damaged_torch_file_is_read_or_refused.long
