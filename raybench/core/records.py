"""Records that cross layers: frozen, keyword-only, no behaviour but their own consistency.

Read this file first. Dimension letters used throughout: b batch, n examples, c classes,
d features, h w grid, q queries, g gallery, k neighbours, m packed heads.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, cast, get_args

from raybench.core.condition import CLEAN, Condition
from raybench.core.errors import NonFiniteMeasurementError, UnknownNameError
from raybench.core.preprocessing import Preprocessing

Split = Literal["train", "val", "test"]
Direction = Literal["min", "max"]
Stage = Literal["features", "search", "final"]
TrialStatus = Literal["running", "completed", "stopped", "failed"]
HparamValue = float | int | str | bool
Hparams = Mapping[str, HparamValue]


def digest_of(content: Any, length: int = 16) -> str:
    """Hexadecimal SHA-256 prefix of anything JSON can hold; keys are sorted, so order does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True, slots=True, order=True)
class Task:
    """A protocol on a dataset. `str` gives `protocol@dataset`, the text of specs and tables.

    >>> Task.parse("knn@hf:org/birds")
    Task(protocol='knn', dataset='hf:org/birds')
    """

    protocol: str
    """A row of `catalog.tasks.PROTOCOLS`."""
    dataset: str
    """A catalogue row, a dataset of the spec, or `folder:PATH`, `torchvision:NAME`, `hf:ORG/NAME`."""

    def __str__(self) -> str:
        return f"{self.protocol}@{self.dataset}"

    @classmethod
    def parse(cls, text: str) -> "Task":
        """Read `protocol@dataset`; neither name is looked up.

        Raises:
            UnknownNameError: if it is not of this form.
        """
        protocol, _, dataset = text.partition("@")
        if not protocol or not dataset:
            raise UnknownNameError(
                f"task {text!r} is not of the form 'protocol@dataset'; write for example "
                "'linear_probe@cifar10'."
            )
        return cls(protocol, dataset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Checkpoint, dataset, preprocessing, versions and device of a measurement; stored with each one."""

    checkpoint_digest: str
    dataset_fingerprint: str
    preprocessing: Preprocessing
    num_params: int
    """Parameters of the backbone without a head."""
    duplicates_removed: Mapping[str, int]
    """Split → images dropped at loading because a later split holds the same pixels."""
    num_skipped: int
    """Unreadable images left out of the dataset (`unreadable: skip` in the spec)."""
    versions: Mapping[str, str]
    """Library name → version."""
    device: str
    """`cpu`, or the GPU's name."""
    features: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the frozen features that differ from their defaults."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; without `features` if these have default settings, as in earlier versions."""
        content = asdict(self)
        return content if self.features else {k: v for k, v in content.items() if k != "features"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One metric value with its full identity."""

    experiment: str
    backbone: str
    """Catalogue name, e.g. `resnet50.a1_in1k`."""
    task: Task
    split: Split
    """Only `val` may steer a search; `test` is read once, when the search is over."""
    metric: str
    """Registered metric name. Direction and bounds are looked up, never repeated here."""
    value: float
    """Finite. A value that cannot be measured makes the trial fail; it is never NaN."""
    num_examples: int
    """How many examples (or queries, or boxes) the value averages over."""
    seed: int
    condition: Condition = CLEAN

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise NonFiniteMeasurementError(
                f"{self.metric} of {self.backbone} on {self.task} ({self.split}) is {self.value}; "
                "report the trial as failed instead, because polars ranks NaN above every number."
            )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One backbone on one task; the unit that is tuned, ranked and shown as an MLflow parent run."""

    backbone: str
    task: Task

    @cached_property
    def slug(self) -> str:
        """A name that is unique per pair and valid as a file name on every system."""
        readable = "".join(c if c.isalnum() or c in "._-" else "_" for c in f"{self.backbone}--{self.task}")
        return f"{readable[:80]}-{digest_of([self.backbone, str(self.task)], 8)}"


@dataclass(frozen=True, kw_only=True)
class TrialRequest:
    """One hyperparameter choice with one seed, to be run by a worker."""

    experiment: str
    pair: Pair
    stage: Stage
    index: int
    """Position within the pair's stage; search trial 0 has the protocol's default hyperparameters."""
    hparams: Mapping[str, HparamValue]
    seed: int
    max_epochs: int
    packed: Mapping[str, tuple[HparamValue, ...]] = field(default_factory=dict)
    """Packed hyperparameters to which the spec gives other values than the protocol's row."""

    @cached_property
    def trial_id(self) -> str:
        """Deterministic identity: two equal requests are the same trial, which runs once.

        >>> pair = Pair(backbone="b", task=Task("knn", "digits"))
        >>> TrialRequest(experiment="e", pair=pair, stage="search", index=3, hparams={}, seed=0,
        ...              max_epochs=1).trial_id
        'b--knn_digits-...-search-003-...'
        """
        content = [
            self.pair.backbone,
            str(self.pair.task),
            self.stage,
            dict(self.hparams),
            self.seed,
            self.max_epochs,
        ]
        if self.packed:  # Not otherwise: trials of earlier versions keep their identity.
            content.append({name: list(values) for name, values in self.packed.items()})
        return f"{self.pair.slug}-{self.stage}-{self.index:03d}-{digest_of(content, 8)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """One metric of a trial, on one split under one condition."""

    split: Split
    metric: str
    value: float
    condition: Condition = CLEAN

    @property
    def key(self) -> str:
        """`split/metric`, or `split/metric/condition`: the name in MLflow and in the ledger's files."""
        plain = f"{self.split}/{self.metric}"
        return plain if self.condition == CLEAN else f"{plain}/{self.condition}"

    @classmethod
    def of_key(cls, key: str, value: float) -> "MetricValue":
        """Inverse of `key`.

        >>> MetricValue.of_key("test/accuracy/linf_pgd(eps=8/255)", 0.5).condition.kind
        'linf_pgd'

        Raises:
            ValueError: if the key names no split.
        """
        split, _, rest = key.partition("/")
        metric, _, condition = rest.partition("/")
        if split not in get_args(Split) or not metric:
            raise ValueError(
                f"metric key {key!r} is not of the form 'split/metric' or 'split/metric/condition'"
            )
        return cls(
            split=cast(Split, split),
            metric=metric,
            value=value,
            condition=Condition.parse(condition) if condition else CLEAN,
        )


def metric_values(by_key: Mapping[str, float]) -> tuple[MetricValue, ...]:
    """Values of a mapping `split/metric[/condition]` → value, in its order."""
    return tuple(MetricValue.of_key(key, value) for key, value in by_key.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A trial's metrics on val after one epoch."""

    epoch: int
    metrics: Mapping[str, float]
    """Bare metric name → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """Result of a trial: a row of the ledger, with everything that tracking shows."""

    trial_id: str
    experiment: str
    pair: Pair
    stage: Stage
    index: int
    hparams: Mapping[str, HparamValue]
    seed: int
    status: TrialStatus
    reason: str = ""
    """Why it failed, in one sentence; empty otherwise."""
    values: tuple[MetricValue, ...] = ()
    """Metrics at the best epoch, on val; in the final stage also on test."""
    chosen: Mapping[str, HparamValue] = field(default_factory=dict)
    """Chosen on val within the trial: the best head of a packed grid, and the best epoch."""
    edges: Mapping[str, str] = field(default_factory=dict)
    """Packed dimension → `low` or `high` where the chosen value is the last one of its grid."""
    curve: tuple[CurvePoint, ...] = ()
    """One point per epoch."""
    grid: tuple[Mapping[str, HparamValue], ...] = ()
    """Packed grid: one entry per head with its hyperparameters and its objective on val; in a large pack also
    `epoch`: a head with fewer epochs than the trial was dropped there, and its value is its last."""
    packed: Mapping[str, tuple[HparamValue, ...]] = field(default_factory=dict)
    """See `TrialRequest.packed`."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    evaluations: Mapping[str, str] = field(default_factory=dict)
    """Evaluator → digest of the settings it measured with; final stage only."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path in the storage → checksum, of the results files of a final trial (`store.result_files`)."""
    wall_seconds: float = 0.0
    """Seconds of training, also before it was resumed, and of evaluators that were added later."""
    started_at: float = 0.0
    """Seconds since the epoch, UTC."""

    @property
    def is_measured_on_test(self) -> bool:
        return any(value.split == "test" for value in self.values)

    @property
    def by_key(self) -> dict[str, float]:
        """`split/metric[/condition]` → value."""
        return {value.key: value.value for value in self.values}

    def value_of(self, split: Split, metric: str) -> float | None:
        """The metric on clean images of the split; None if it was not measured."""
        for entry in self.values:
            if entry.split == split and entry.metric == metric and entry.condition == CLEAN:
                return entry.value
        return None

    @classmethod
    def of(cls, request: TrialRequest, status: TrialStatus, reason: str = "") -> "TrialRecord":
        """A record of the request without results; `dataclasses.replace` adds them."""
        return cls(
            trial_id=request.trial_id,
            experiment=request.experiment,
            pair=request.pair,
            stage=request.stage,
            index=request.index,
            hparams=dict(request.hparams),
            seed=request.seed,
            packed=request.packed,
            status=status,
            reason=reason,
        )
