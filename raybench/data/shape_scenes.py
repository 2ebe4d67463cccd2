"""Generator of the `shapes` images: textured shapes over textured backgrounds, drawn from a seed.

Every image holds a main object (the largest, nearest the centre and in front) and one to three smaller ones,
so that one generator serves classification (the main object's class), retrieval (its identity), detection
(boxes) and segmentation (masks). An identity is an individual: a class with two colours, a pattern and a
stretch of its own, which appears in other images at another size, angle and brightness.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from raybench.data.shape_outlines import OUTLINES, checks, stripes

CLASS_NAMES: tuple[str, ...] = tuple(OUTLINES)
NUM_IDENTITIES = 80
"""Individuals, the same for every seed; identity i is of class i % 10."""
MAX_OBJECTS = 4
"""The main object, which is always object 0, and up to three others behind it."""
MIN_VISIBLE = 6
"""An object with fewer visible pixels is not drawn at all."""
CHUNK = 250
"""Images drawn at a time, each chunk from its own generator: a longer set begins with the shorter one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Images with complete annotations: n images, k = MAX_OBJECTS object slots in each, some empty."""

    images: UInt8[np.ndarray, "n h w 3"]
    labels: Int64[np.ndarray, " n"]
    """Class of the main object, an index into CLASS_NAMES."""
    object_labels: Int64[np.ndarray, "n k"]
    """Class of each object; -1 where there is none."""
    identities: Int64[np.ndarray, "n k"]
    """Identity of each object in [0, NUM_IDENTITIES); -1 where there is none."""
    boxes: Float32[np.ndarray, "n k 4"]
    """x0, y0, x1, y1 of the visible part, pixels, x1 and y1 exclusive; zeros where there is none."""
    instance_map: UInt8[np.ndarray, "n h w"]
    """0 background, j + 1 where object j is in front."""

    @property
    def masks(self) -> Bool[np.ndarray, "n k h w"]:
        """Visible part of each object; masks of one image never overlap."""
        slots = np.arange(1, MAX_OBJECTS + 1, dtype=np.uint8)[None, :, None, None]
        return np.asarray(self.instance_map[:, None] == slots)

    @property
    def is_present(self) -> Bool[np.ndarray, "n k"]:
        return np.asarray(self.object_labels >= 0)


def generate(seed: int, num_images: int, size: int = 32) -> Scenes:
    """Draw scenes; use another seed for each split.

    The same arguments give the same images (to within rounding of a grey level between processors), and
    the first images do not depend on `num_images`. Classes are drawn uniformly.

    Args:
        seed: any integer ≥ 0.
        num_images: at least 1.
        size: side of the square images, pixels; at least 16.

    Raises:
        ValueError: if `num_images` or `size` is too small.
    """
    if num_images < 1 or size < 16:
        raise ValueError(f"shapes need num_images ≥ 1 and size ≥ 16, got {num_images} and {size}.")
    chunks = [
        _draw_chunk(np.random.default_rng([seed, start]), min(CHUNK, num_images - start), size)
        for start in range(0, num_images, CHUNK)
    ]
    return Scenes(
        **{f.name: np.concatenate([getattr(chunk, f.name) for chunk in chunks]) for f in fields(Scenes)}
    )


@dataclass(frozen=True, slots=True)
class _Individuals:
    colours: Float[np.ndarray, "i 2 3"]
    frequency: Float[np.ndarray, " i"]
    is_checked: Bool[np.ndarray, " i"]
    stretch: Float[np.ndarray, " i"]


def _individuals() -> _Individuals:
    rng = np.random.default_rng(20_240_229)
    first = rng.random((NUM_IDENTITIES, 1, 3))
    second = np.clip(
        first + rng.choice([-1, 1], (NUM_IDENTITIES, 1, 3)) * rng.uniform(0.2, 0.6, first.shape), 0, 1
    )
    return _Individuals(
        colours=np.concatenate([first, second], axis=1),
        frequency=rng.choice([0.0, 1.5, 2.5, 3.5], NUM_IDENTITIES),
        is_checked=rng.random(NUM_IDENTITIES) < 0.5,
        stretch=rng.uniform(0.85, 1.0, NUM_IDENTITIES),
    )


def _draw_chunk(rng: np.random.Generator, num_images: int, size: int) -> Scenes:
    """Draw the random numbers of a whole chunk, then render its first `num_images`."""
    n, k = CHUNK, MAX_OBJECTS
    identities = rng.integers(NUM_IDENTITIES, size=(n, k))
    is_main = np.arange(k) == 0
    radius = np.where(is_main, rng.uniform(0.24, 0.38, (n, k)), rng.uniform(0.10, 0.17, (n, k))) * size
    reach = np.where(is_main, 0.13, 0.45)[None, :, None]
    centre = (0.5 + rng.uniform(-1, 1, (n, k, 2)) * reach) * size
    angle = np.where(is_main, rng.uniform(-0.6, 0.6, (n, k)), rng.uniform(-np.pi, np.pi, (n, k)))
    brightness = rng.uniform(0.7, 1.15, (n, k))
    is_drawn = np.arange(k) <= rng.integers(1, k, size=(n, 1))
    canvas = _backgrounds(rng, n, size)
    noise = rng.normal(0, 0.04, canvas.shape).astype(np.float32)

    kept = slice(num_images)
    identities, is_drawn = identities[kept], is_drawn[kept]
    coverage, fill = _render(
        identities.ravel(),
        radius[kept].reshape(-1, 1, 1),
        centre[kept].reshape(-1, 2),
        angle[kept].reshape(-1, 1, 1),
        brightness[kept].reshape(-1, 1, 1),
        size,
    )
    coverage = coverage.reshape(num_images, k, size, size)
    instance_map, is_present = _stack(coverage, is_drawn)
    painted = canvas[kept]
    fill = fill.reshape(num_images, k, size, size, 3)
    for slot in reversed(range(k)):
        alpha = (coverage[:, slot] * is_present[:, slot, None, None])[..., None]
        painted = painted + alpha * (fill[:, slot] - painted)
    images = (np.clip(painted + noise[kept], 0, 1) * 255).round().astype(np.uint8)
    identities = np.where(is_present, identities, -1)
    object_labels = np.where(is_present, identities % len(CLASS_NAMES), -1)
    return Scenes(
        images=images,
        labels=object_labels[:, 0],
        object_labels=object_labels,
        identities=identities,
        boxes=_boxes(instance_map),
        instance_map=instance_map,
    )


def _backgrounds(rng: np.random.Generator, n: int, size: int) -> Float32[np.ndarray, "n h w 3"]:
    """Two octaves of smooth colour noise and a faint grating."""
    canvas = np.full((n, size, size, 3), rng.uniform(0.25, 0.75, (n, 1, 1, 3)), dtype=np.float32)
    for cells, amplitude in ((4, 0.18), (9, 0.12)):
        coarse = rng.uniform(-amplitude, amplitude, (n, cells, cells, 3)).astype(np.float32)
        weights = _interpolation(cells, size)
        across = np.einsum("ig,nghc->nihc", weights, coarse, optimize=True)
        canvas += np.einsum("jh,nihc->nijc", weights, across, optimize=True)
    steps = np.arange(size, dtype=np.float32)
    wave = rng.uniform(-0.9, 0.9, (n, 2, 1, 1)).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1)).astype(np.float32)
    grating = np.sin(wave[:, 0] * steps[:, None] + wave[:, 1] * steps[None, :] + phase)
    return canvas + rng.uniform(0, 0.1, (n, 1, 1, 1)).astype(np.float32) * grating[..., None]


def _interpolation(cells: int, size: int) -> Float32[np.ndarray, "size cells"]:
    """Weights of linear interpolation from `cells` points to `size` pixels; rows sum to 1."""
    position = np.linspace(0, cells - 1, size)
    return np.clip(1 - np.abs(position[:, None] - np.arange(cells)), 0, 1).astype(np.float32)


def _render(
    identities: Int64[np.ndarray, " m"],
    radius: Float[np.ndarray, "m 1 1"],
    centre: Float[np.ndarray, "m 2"],
    angle: Float[np.ndarray, "m 1 1"],
    brightness: Float[np.ndarray, "m 1 1"],
    size: int,
) -> tuple[Float32[np.ndarray, "m h w"], Float32[np.ndarray, "m h w 3"]]:
    """Render each object alone on its canvas: coverage in [0, 1] and colour."""
    individuals = _individuals()
    pixels = (np.arange(size) + 0.5).astype(np.float32)
    dx = (pixels[None, None, :] - centre[:, 0, None, None]).astype(np.float32)
    dy = (pixels[None, :, None] - centre[:, 1, None, None]).astype(np.float32)
    scale = (1 / radius).astype(np.float32)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    u = (cos * dx + sin * dy) * scale
    v = (cos * dy - sin * dx) * scale / individuals.stretch[identities][:, None, None].astype(np.float32)
    distance, weave = np.empty_like(u), np.empty_like(u)
    classes = identities % len(OUTLINES)
    for label, outline in enumerate(OUTLINES.values()):
        chosen = classes == label
        distance[chosen] = outline(u[chosen], v[chosen])
    frequency = individuals.frequency[identities][:, None, None].astype(np.float32)
    for is_checked, pattern in ((True, checks), (False, stripes)):
        chosen = individuals.is_checked[identities] == is_checked
        weave[chosen] = pattern(u[chosen], v[chosen], frequency[chosen])
    coverage = np.clip(0.5 - distance / scale, 0, 1)  # One pixel wide, centred on the outline.
    colours = (individuals.colours[identities] * brightness).astype(np.float32)
    first, second = colours[:, 0, None, None], colours[:, 1, None, None]
    return coverage, first + weave[..., None] * (second - first)


def _stack(
    coverage: Float32[np.ndarray, "n k h w"], is_drawn: Bool[np.ndarray, "n k"]
) -> tuple[UInt8[np.ndarray, "n h w"], Bool[np.ndarray, "n k"]]:
    """The front object of each pixel, object 0 being foremost, and which objects are visible."""
    n, k, h, w = coverage.shape
    instance_map = np.zeros((n, h, w), dtype=np.uint8)
    is_present = np.zeros((n, k), dtype=bool)
    for slot in range(k):
        visible = (coverage[:, slot] >= 0.5) & (instance_map == 0) & is_drawn[:, slot, None, None]
        is_present[:, slot] = visible.sum(axis=(1, 2)) >= MIN_VISIBLE
        instance_map[visible & is_present[:, slot, None, None]] = slot + 1
    return instance_map, is_present


def _boxes(instance_map: UInt8[np.ndarray, "n h w"]) -> Float32[np.ndarray, "n k 4"]:
    """Tightest box around each object's visible pixels."""
    n, h, w = instance_map.shape
    boxes = np.zeros((n, MAX_OBJECTS, 4), dtype=np.float32)
    for slot in range(MAX_OBJECTS):
        mask = instance_map == slot + 1
        columns, rows = mask.any(axis=1), mask.any(axis=2)
        sides = (
            columns.argmax(1),
            rows.argmax(1),
            w - columns[:, ::-1].argmax(1),
            h - rows[:, ::-1].argmax(1),
        )
        boxes[:, slot] = np.stack(sides, axis=1) * mask.any(axis=(1, 2))[:, None]
    return boxes
