"""Temperature scaling: one factor for all logits that calibrates confidences and changes no answer."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

LOG_RANGE = (math.log(1e-2), math.log(1e2))
"""Range of the search, as logarithms."""


def mean_nll(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"], temperature: float) -> float:
    """Mean −log probability of the true class, in nats, of `logits / temperature` in float64."""
    scaled = logits.astype(np.float64) / temperature
    return float(np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(targets)), targets]))


def fit_temperature(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> float:
    """The temperature in [0.01, 100] of least NLL on these examples; 1 if no other is better.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. The NLL is convex
    in 1 / temperature, so a bounded search in one dimension finds the minimum.
    """
    result: Any = minimize_scalar(
        lambda log: mean_nll(logits, targets, math.exp(log)),
        bounds=LOG_RANGE,
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = math.exp(float(result.x))
    is_better = mean_nll(logits, targets, temperature) < mean_nll(logits, targets, 1.0)
    return temperature if is_better else 1.0
