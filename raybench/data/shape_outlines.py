"""Outlines of the drawn classes as signed distances, and the patterns that fill them.

Coordinates u, v belong to the object: 0 at its centre, 1 at its radius, rotated with it. All arrays are
[m, h, w]: m objects on the canvas of their image. Distances are in radii, negative inside. They are exact
near the outline, as anti-aliasing needs, and only monotonic elsewhere.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

Grid = Float[np.ndarray, "m h w"]
Outline = Callable[[Grid, Grid], Grid]


def disc(u: Grid, v: Grid) -> Grid:
    return np.hypot(u, v) - 1


def ring(u: Grid, v: Grid) -> Grid:
    return np.abs(np.hypot(u, v) - 0.74) - 0.26


def half_disc(u: Grid, v: Grid) -> Grid:
    return np.maximum(np.hypot(u, v) - 1, v - 0.1)


def crescent(u: Grid, v: Grid) -> Grid:
    return np.maximum(np.hypot(u, v) - 1, 0.85 - np.hypot(u - 0.55, v))


def square(u: Grid, v: Grid) -> Grid:
    return np.maximum(np.abs(u), np.abs(v)) - 0.82


def bar(u: Grid, v: Grid) -> Grid:
    return np.maximum(np.abs(u) - 1, np.abs(v) - 0.36)


def cross(u: Grid, v: Grid) -> Grid:
    return np.minimum(
        np.maximum(np.abs(u) - 1, np.abs(v) - 0.3),
        np.maximum(np.abs(u) - 0.3, np.abs(v) - 1),
    )


def triangle(u: Grid, v: Grid) -> Grid:
    """Equilateral, with corners at distance 1."""
    slanted = math.sqrt(3) / 2
    return np.maximum(np.maximum(slanted * u - v / 2, -slanted * u - v / 2), v) - 0.5


def star(u: Grid, v: Grid) -> Grid:
    """Five points: folding the plane into one tenth leaves one straight edge."""
    tenth = math.pi / 5
    angle = np.abs(np.mod(np.arctan2(v, u), 2 * tenth) - tenth)  # 0 at a notch, tenth at a point.
    radius = np.hypot(u, v)
    along, across = radius * np.cos(tenth - angle), radius * np.sin(tenth - angle)
    notch_along, notch_across = 0.42 * math.cos(tenth), 0.42 * math.sin(tenth)
    length = math.hypot(1 - notch_along, notch_across)
    return ((along - 1) * notch_across + across * (1 - notch_along)) / length


def heart(u: Grid, v: Grid) -> Grid:
    """Two lobes over a point."""
    u, v = np.abs(u), v + 0.15
    lobe = np.hypot(u - 0.45, v + 0.2) - 0.52
    wedge = np.maximum((u + v * 0.85 - 0.96) / 1.312, -v - 0.2)
    return np.minimum(lobe, np.maximum(wedge, u - 0.97))


OUTLINES: Mapping[str, Outline] = {
    "bar": bar,
    "crescent": crescent,
    "cross": cross,
    "disc": disc,
    "half_disc": half_disc,
    "heart": heart,
    "ring": ring,
    "square": square,
    "star": star,
    "triangle": triangle,
}
"""Class name → outline, in the order of the labels."""


def stripes(u: Grid, v: Grid, frequency: Float[np.ndarray, "m 1 1"]) -> Grid:
    """Soft stripes in [0, 1], `frequency` half-waves per radius; 0 gives a plain fill."""
    return 0.5 + 0.5 * np.sin(math.pi * frequency * u)


def checks(u: Grid, v: Grid, frequency: Float[np.ndarray, "m 1 1"]) -> Grid:
    """Soft checks in [0, 1]."""
    return 0.5 + 0.5 * np.sin(math.pi * frequency * u) * np.sin(math.pi * frequency * v)
