"""The learning-rate schedule of fine-tuning."""

import math

WARMUP_SHARE = 0.1
"""Share of all steps; Goldblum et al. 2023 warm up for 5 to 10 of 100 epochs (released configs)."""


def lr_factor(progress: float) -> float:
    """Linear warm-up, then cosine to zero; `progress` is the share of all steps done, in (0, 1).

    >>> [round(lr_factor(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 0.999)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < WARMUP_SHARE:
        return progress / WARMUP_SHARE
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))
