"""Bootstrap replicates of scores: paired resampling of test examples, plus Student-t noise between seeds.

Test examples are resampled with replacement within each task, with the same draw for every backbone (paired:
what is hard for every backbone cancels in their differences). A metric's `resampling` says how its value
follows from the drawn examples. Resampling 2–5 seeds underestimates their variance (by half for 2 seeds: 95 %
intervals covered 79 %), so we add Student-t noise with the between-seed variance pooled over the task's
backbones. Tasks and backbones are not resampled: the intervals hold for these tasks only.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError
from raybench.metrics.resampling import PerExampleMean, Statistic, all_means

Array = NDArray[np.float64]
Counts = NDArray[np.float32]
"""How often each example was drawn, [replicates, n]."""
Seeds = Sequence[Statistic]
"""Statistics of one backbone on one task, one per seed."""
BLOCK = 128
"""Replicates drawn at once: weights of 128 × 10,000 examples are 5 MB."""
MAX_REDRAWS = 100
"""Attempts to replace draws on which a value is undefined, before giving up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """Measured and resampled scores, from which all intervals and probabilities here are computed."""

    backbones: tuple[str, ...]
    tasks: tuple[str, ...]
    estimates: Array
    """Mean over seeds on the original test examples, higher is better, shape [backbones, tasks]."""
    resampled: Array
    """Mean over seeds in every replicate, shape [replicates, backbones, tasks]."""


def example_means(values: Iterable[ArrayLike]) -> list[list[PerExampleMean]]:
    """Statistics per backbone and seed of values per example.

    Args:
        values: one array per backbone, shape [seeds, n] or, for one seed, [n].
    """
    return [[PerExampleMean(row) for row in np.atleast_2d(np.asarray(seeds))] for seeds in values]


def replicate(
    statistics: Mapping[str, Sequence[Seeds]],
    backbones: Sequence[str],
    *,
    lower_is_better: Collection[str] = (),
    num_replicates: int = 1000,
    seed: int = 0,
) -> Replicates:
    """Resample test examples and add noise between seeds.

    A draw on which a value is undefined (a class without an example) is replaced by another. With one seed
    per backbone the between-seed variance is unknown: replicates then vary by the examples only.

    Args:
        statistics: task → one sequence per backbone, of one statistic per seed. Examples must have the same
            order in all statistics of a task. Numbers of examples and seeds may differ between tasks, numbers
            of seeds between backbones too.
        backbones: names, in the order of `statistics`.
        lower_is_better: tasks whose values are negated.
        num_replicates: number of resamples.
        seed: of the random draws; the same seed gives the same replicates.

    Raises:
        EmptyInputError: if there is no task, or one has no example or another number of backbones.
        NonFiniteMeasurementError: if a value is NaN or infinite, or on nearly every draw.
    """
    if not statistics:
        raise EmptyInputError("a bootstrap needs the statistics of at least one task, got none.")
    rng = np.random.default_rng(seed)
    tasks = tuple(sorted(statistics))
    estimates = np.empty((len(backbones), len(tasks)))
    resampled = np.empty((num_replicates, len(backbones), len(tasks)))
    for column, task in enumerate(tasks):
        _require_paired(statistics[task], task, len(backbones))
        sign = -1.0 if task in lower_is_better else 1.0
        sampler = _Sampler(task, statistics[task][0][0].num_examples, num_replicates, rng)
        means = all_means(statistics[task])
        draws = (
            _draw_values(statistics[task], sign, sampler)
            if means is None
            else _draw_means(means, sign, sampler)
        )
        estimates[:, column] = draws.estimates
        resampled[:, :, column] = _with_seed_noise(draws, sampler)
    return Replicates(backbones=tuple(backbones), tasks=tasks, estimates=estimates, resampled=resampled)


def _require_paired(statistics: Sequence[Seeds], task: str, num_backbones: int) -> None:
    sizes = [[statistic.num_examples for statistic in seeds] for seeds in statistics]
    is_paired = len({size for seeds in sizes for size in seeds}) == 1
    if len(sizes) != num_backbones or not all(sizes) or not is_paired or sizes[0][0] == 0:
        raise EmptyInputError(
            f"statistics of {task!r} have {sizes} examples, by backbone and seed; expected {num_backbones} "
            "backbones, each with a seed or more, and the same examples, one or more, for all."
        )


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Draws of one task's test examples."""

    task: str
    num_examples: int
    num_replicates: int
    rng: np.random.Generator

    def resample(self, values: Callable[[Counts], Array]) -> Array:
        """Compute `values` on draws with replacement, a block of draws at a time: [replicates, columns]."""
        blocks = []
        for start in range(0, self.num_replicates, BLOCK):
            block = values(self._counts(min(BLOCK, self.num_replicates - start)))
            for _ in range(MAX_REDRAWS):
                is_undefined = np.isnan(block).any(axis=1)
                if not is_undefined.any():
                    break
                block[is_undefined] = values(self._counts(int(is_undefined.sum())))
            else:
                raise NonFiniteMeasurementError(
                    f"the value of {self.task!r} is undefined on nearly every draw of its "
                    f"{self.num_examples} test examples, so it has no interval."
                )
            blocks.append(block)
        return np.concatenate(blocks)

    def require_finite(self, scores: Sequence[Array]) -> None:
        if not all(np.isfinite(seeds).all() for seeds in scores):
            raise NonFiniteMeasurementError(f"per-example values of {self.task!r} hold NaN or infinity.")

    def _counts(self, num_draws: int) -> Counts:
        n = self.num_examples
        drawn = self.rng.integers(0, n, (num_draws, n), dtype=np.int32)
        offsets = np.arange(num_draws, dtype=np.int32)[:, None] * n
        counts = np.bincount((drawn + offsets).ravel(), minlength=num_draws * n)
        return counts.reshape(num_draws, n).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draws:
    """Scores of one task on resampled examples, before noise between seeds is added."""

    estimates: Array
    """Mean over seeds on the original examples, [backbones]."""
    resampled: Array
    """Mean over seeds per draw, [replicates, backbones]."""
    scores: list[Array]
    """Per backbone the scores of its seeds on the original examples, [seeds]."""
    example_variances: list[float]
    """Per backbone n times the part of its between-seed variance that sampling n examples causes."""
    limits: tuple[float, float] = (-np.inf, np.inf)
    """Smallest and largest possible value."""


def _draw_means(statistics: Sequence[Sequence[PerExampleMean]], sign: float, sampler: _Sampler) -> _Draws:
    """Average seeds before resampling, because means are linear: one column per backbone, not per seed."""
    # float32: single-precision BLAS is twice as fast, and counts are exact in it.
    values = [np.stack([mean.values for mean in seeds]).astype(np.float32) for seeds in statistics]
    if sign < 0:
        values = [-seeds for seeds in values]
    scores = [seeds.mean(axis=1, dtype=np.float64) for seeds in values]
    sampler.require_finite(scores)
    n = sampler.num_examples
    columns = np.ascontiguousarray(np.stack([seeds.mean(axis=0) for seeds in values]).T)
    draws = _Draws(
        estimates=np.array([seeds.mean(dtype=np.float64) for seeds in values]),
        resampled=sampler.resample(lambda counts: (counts @ columns).astype(np.float64) / n),
        scores=scores,
        example_variances=[
            seeds.var(axis=0, ddof=1).mean() if len(seeds) > 1 and n > 1 else 0.0 for seeds in values
        ],
    )
    if n == 1:  # Values are scores of whole seeds, which say nothing about the possible range.
        return draws
    return replace(draws, limits=(float(min(map(np.min, values))), float(max(map(np.max, values)))))


def _draw_values(statistics: Sequence[Seeds], sign: float, sampler: _Sampler) -> _Draws:
    """Recompute the value of every seed on the same draws."""
    ends = np.cumsum([len(seeds) for seeds in statistics])[:-1]

    def values(counts: Counts) -> Array:
        weights = counts.astype(np.float64)
        columns = [statistic.at(weights) for seeds in statistics for statistic in seeds]
        return sign * np.stack(columns, axis=1, dtype=np.float64)

    scores = np.split(values(np.ones((1, sampler.num_examples), dtype=np.float32))[0], ends)
    sampler.require_finite(scores)
    resampled = np.split(sampler.resample(values), ends, axis=1)
    return _Draws(
        estimates=np.array([seeds.mean() for seeds in scores]),
        resampled=np.stack([seeds.mean(axis=1) for seeds in resampled], axis=1),
        scores=scores,
        example_variances=[sampler.num_examples * _variance_between(seeds) for seeds in resampled],
    )


def _variance_between(seeds: Array) -> float:
    """Between-seed variance that resampling causes, from values [replicates, seeds]."""
    if seeds.shape[1] == 1:
        return 0.0
    deviations = seeds - seeds.mean(axis=1, keepdims=True)
    return float(deviations.var(axis=0, ddof=1).sum() / (seeds.shape[1] - 1))


def _with_seed_noise(draws: _Draws, sampler: _Sampler) -> Array:
    """Add Student-t noise with the variance of each backbone's mean over seeds."""
    num_seeds = np.array([len(scores) for scores in draws.scores])
    if (num_seeds == 1).all():
        return draws.resampled
    noise = sampler.rng.standard_t((num_seeds - 1).sum(), draws.resampled.shape)
    variance = seed_variance(draws.scores, draws.example_variances, sampler.num_examples)
    return np.clip(draws.resampled + noise * np.sqrt(variance / num_seeds), *draws.limits)


def seed_variance(scores: Sequence[Array], example_variances: Sequence[float], num_examples: int) -> float:
    """Between-seed variance minus within-seed sampling variance, pooled over backbones, floored at 0.

    Part of the between-seed variance comes from the sample of test examples, whose resampling already covers
    it.

    Args:
        scores: per backbone the scores of its seeds, [seeds]; several seeds for at least one.
        example_variances: per backbone n times the part of its between-seed variance that sampling n examples
            causes.
        num_examples: n.
    """
    several = [(seeds, v) for seeds, v in zip(scores, example_variances, strict=True) if len(seeds) > 1]
    degrees = [len(seeds) - 1 for seeds, _ in several]
    between = np.average([seeds.var(ddof=1) for seeds, _ in several], weights=degrees)
    within = np.average([variance for _, variance in several], weights=degrees)
    return max(float(between) - float(within) / num_examples, 0.0)
