"""JPEG files of 500 × 375 to the bytes that a backbone gets: Pillow and timm's resize and crop, against ours.

`python -m tests.benchmarks.decoding` prints images per second over 1, 2 and 4 threads or processes.
"""

import io
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from PIL import Image

from raybench.core.preprocessing import Preprocessing
from raybench.data.cropping import fit_to_square
from raybench.data.decoding import decode
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import make_images

SETTINGS = Preprocessing(
    input_size=224, crop_pct=0.875, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
)
SIZE = (341, 256)
CROP = (58, 16, 58 + 224, 16 + 224)


def measure(quick: bool) -> list[Ratio]:
    """CPU seconds for the same files, in turn; 1 / 1.3 of the former way is the target."""
    files = _files(16 if quick else 96)
    results: dict[str, list[np.ndarray]] = {}

    def run(name: str, one: Callable[[bytes], np.ndarray]) -> None:
        results[name] = [one(content) for content in files]

    sides = {"ours": ours, "fast": fast, "theirs": pillow}
    spent = in_turn({name: partial(run, name, one) for name, one in sides.items()}, rounds=7)
    gap = max(
        int(np.abs(a.astype(int) - b).max()) for a, b in zip(results["fast"], results["theirs"], strict=True)
    )
    rates = {name: len(files) / seconds for name, seconds in spent.items()}
    is_equal = all(map(np.array_equal, results["ours"], results["theirs"]))
    return [
        Ratio(
            name="JPEG files to pixels",
            ours="simplejpeg, resize of the kept part",
            theirs="Pillow: decode, resize, crop",
            target=1 / 1.3,
            measured=spent["ours"] / spent["theirs"],
            gate="pixels equal to the last bit" if is_equal else "pixels differ",
            is_gate_passed=is_equal,
            note=f"{rates['ours']:.0f} and {rates['theirs']:.0f} images per CPU second.",
            numbers={f"{name}_images_per_cpu_second": rate for name, rate in rates.items()},
        ),
        Ratio(
            name="JPEG files to pixels, `resize: fast`",
            ours="simplejpeg, resize by torch",
            theirs="Pillow: decode, resize, crop",
            target=1 / 1.3,
            measured=spent["fast"] / spent["theirs"],
            gate=f"pixels equal within {gap} of 255 levels",
            is_gate_passed=gap <= 2,
            note=f"{rates['fast']:.0f} and {rates['theirs']:.0f} images per CPU second.",
        ),
    ]


def pillow(content: bytes) -> np.ndarray:
    """The former way: Pillow to an array, back to Pillow, resized whole, cropped."""
    image = Image.fromarray(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    return np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC).crop(CROP))


def ours(content: bytes) -> np.ndarray:
    """The data path of raybench."""
    return fit_to_square(decode(content, "file"), SETTINGS)


def fast(content: bytes) -> np.ndarray:
    """The data path of `features: {resize: fast}`."""
    return fit_to_square(decode(content, "file"), SETTINGS, "fast")


def _files(number: int) -> list[bytes]:
    files = []
    for image in make_images(number, 375, 500):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def _repeat(one: Callable[[bytes], np.ndarray], files: list[bytes]) -> None:
    for content in files:
        one(content)


def main() -> None:
    """Print the curve: wall clock, the median of five rounds."""
    files = _files(64)
    for pool_type in (ThreadPoolExecutor, ProcessPoolExecutor):
        for workers in (1, 2, 4):
            with pool_type(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                rates = {one.__name__: _rate(pool, workers, one, files) for one in (ours, fast, pillow)}
            print(f"{workers} {pool_type.__name__}: {rates} images/s", flush=True)


def _rate(pool: Executor, workers: int, one: Callable[[bytes], np.ndarray], files: list[bytes]) -> int:
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        list(pool.map(partial(_repeat, one), [files] * workers))
        seconds.append(time.perf_counter() - started)
    return round(workers * len(files) / sorted(seconds[1:])[2])


if __name__ == "__main__":
    main()
