"""Protocols, and tasks made of them: `protocol@dataset`, e.g. `linear_probe@cifar10`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from raybench.catalog.dataset_info import Annotation
from raybench.catalog.evaluators.info import Needs
from raybench.catalog.finetuning import FINETUNE_LIMITS, FINETUNE_OPTIONAL, FINETUNE_PRESETS
from raybench.catalog.retrieval import (
    ADDED_LATER,
    PRESETS,
    RETRIEVAL,
    RETRIEVAL_GRIDS,
    RETRIEVAL_LIMITS,
    RETRIEVAL_OBJECTIVE,
)
from raybench.catalog.search_spaces import (
    FINETUNE,
    FINETUNE_MINIBATCH,
    KNN,
    KNN_GRIDS,
    KNN_LIMITS,
    LINEAR_PROBE,
    LINEAR_PROBE_GRIDS,
    LINEAR_PROBE_LIMITS,
    LINEAR_PROBE_MINIBATCH,
    LINEAR_PROBE_ON_REQUEST,
    Grid,
    Limits,
    PackedGrids,
    SearchSpace,
    defaults,
    fit_epochs,
)
from raybench.core.errors import UnknownNameError
from raybench.core.records import Hparams, Task
from raybench.core.registry import Registry
from raybench.metrics.retrieval import QUERIES_WITHOUT_POSITIVES, RETRIEVAL_METRICS

WITHOUT_GRADIENTS: tuple[Needs, ...] = ("predictions", "features", "images")
EVERYTHING: tuple[Needs, ...] = (*WITHOUT_GRADIENTS, "gradients")
CLASSIFICATION_METRICS = ("accuracy", "top5_accuracy", "mean_class_accuracy", "nll")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolInfo:
    """A protocol: how a backbone is used for a task. The defaults suit a classifier on frozen features."""

    name: str
    entry_point: str
    """`package.module:name` of its factory (`evaluation.contracts.ProtocolFactory`)."""
    doc: str
    space: SearchSpace = field(default_factory=dict)
    """What Tune searches; `space_within` scales its epochs to a budget."""
    metrics: tuple[str, ...] = CLASSIFICATION_METRICS
    """Metric names of every trial, on val while searching and on test in the final stage."""
    objective: str = "accuracy"
    """Metric that the search optimises on val."""
    max_epochs: int = 1
    """Epochs per trial, unless the spec or the budget sets fewer."""
    cpus: float = 1
    gpus: float = 0.125
    """GPUs per trial if the cluster has any; trials with a fraction share one."""
    uses_features: bool = True
    """True if trials read the feature store and the backbone stays frozen."""
    annotations: tuple[Annotation, ...] = ("classes",)
    """Annotations of datasets that it can use."""
    optional: SearchSpace = field(default_factory=dict)
    """Further dimensions, at their defaults unless a spec's `spaces` or `hparams` name them."""
    on_request: Grid = field(default_factory=dict)
    """Further values of a `Choice` of `space`, searched only if a spec's `spaces` or `hparams` name them."""
    packed: PackedGrids = field(default_factory=dict)
    """Grids that one trial trains at once."""
    packed_by: str = "solver"
    """Hyperparameter whose value chooses among these grids."""
    limits: Limits = field(default_factory=dict)
    """Smallest and largest numbers that a spec may give a dimension."""
    minibatch: int | None = None
    """Examples per optimiser step where hyperparameters name none; None if there are no minibatches."""
    accumulates: bool = False
    """True if a batch may be passed in parts (`micro_batch`) whose gradients are summed: after running out of
    memory the parts are halved, not the batch."""
    category: str = "classification"
    """Kind of its tasks: a ranking with `mean: macro` weighs every category the same."""
    evaluators: tuple[Needs, ...] = ()
    """`needs` of the evaluators that can measure its classifiers; empty if it fits none."""
    presets: Mapping[str, Hparams] = field(default_factory=dict)
    """Name → complete hyperparameters, for specs that search nothing: `preset: paper`."""
    added_later: Hparams = field(default_factory=dict)
    """Hyperparameter of a later version → the value that older recipes imply."""

    def space_within(self, max_epochs: int) -> SearchSpace:
        """The search space with its epochs scaled to end at `max_epochs`."""
        return fit_epochs(self.space, max_epochs)

    def packed_grid(self, hparams: Hparams, changed: Grid | None = None) -> Grid:
        """The grid that one trial with these hyperparameters trains at once; empty if nothing is packed.

        Args:
            hparams: of the trial.
            changed: packed hyperparameters to which the spec gives other values.

        >>> list(PROTOCOLS["linear_probe"].packed_grid({"solver": "lbfgs"}))
        ['inverse_l2']
        """
        is_chosen = self.packed_by in self.space
        chosen = str({**defaults(self.space), **hparams}[self.packed_by]) if is_chosen else None
        grid = self.packed.get(chosen, {})
        return {name: (changed or {}).get(name, values) for name, values in grid.items()}

    @property
    def packed_values(self) -> Grid:
        """Every packed hyperparameter of any solver → its values."""
        return {name: values for grid in self.packed.values() for name, values in grid.items()}


PROTOCOLS: Registry[ProtocolInfo] = Registry("protocol", ProtocolInfo)
for _protocol in (
    ProtocolInfo(
        name="linear_probe",
        entry_point="raybench.evaluation.linear_probe:linear_probe",
        space=LINEAR_PROBE,
        on_request=LINEAR_PROBE_ON_REQUEST,
        packed=LINEAR_PROBE_GRIDS,
        limits=LINEAR_PROBE_LIMITS,
        max_epochs=100,  # The paper's probe: 90 (Goldblum et al. 2023, released train.py).
        evaluators=EVERYTHING,
        minibatch=LINEAR_PROBE_MINIBATCH,
        doc="A linear classifier on frozen features; one trial trains a whole grid of heads.",
    ),
    ProtocolInfo(
        name="knn",
        entry_point="raybench.evaluation.knn:knn",
        space=KNN,
        packed=KNN_GRIDS,
        limits=KNN_LIMITS,
        evaluators=WITHOUT_GRADIENTS,
        doc="Exact nearest neighbours in frozen features; one trial tries every k and temperature.",
    ),
    ProtocolInfo(
        name="finetune",
        entry_point="raybench.evaluation.finetune.protocol:finetune",
        space=FINETUNE,
        optional=FINETUNE_OPTIONAL,
        limits=FINETUNE_LIMITS,
        presets=FINETUNE_PRESETS,
        accumulates=True,
        max_epochs=100,  # The paper's number (Goldblum et al. 2023, released train.py).
        cpus=2,
        gpus=1,
        uses_features=False,
        evaluators=EVERYTHING,
        minibatch=FINETUNE_MINIBATCH,
        doc="The whole backbone trained end to end with a new head.",
    ),
    ProtocolInfo(
        name="retrieval",
        category="retrieval",
        entry_point="raybench.evaluation.retrieval.protocol:retrieval",
        metrics=(*RETRIEVAL_METRICS, QUERIES_WITHOUT_POSITIVES),
        objective=RETRIEVAL_OBJECTIVE,
        space=RETRIEVAL,
        packed=RETRIEVAL_GRIDS,
        packed_by="normalisation",
        limits=RETRIEVAL_LIMITS,
        added_later=ADDED_LATER,
        presets=PRESETS,
        doc="A query's positives (its class, or listed) first in the ranking of a gallery; exact search, "
        "nothing is trained. `map` is plain average precision, `map_trapezoid` revisitop's and the paper's.",
    ),
    ProtocolInfo(
        name="pretrained_head",
        entry_point="raybench.evaluation.pretrained_head:pretrained_head",
        evaluators=EVERYTHING,
        doc="The classifier that a checkpoint came with, as it is; nothing is trained or chosen.",
    ),
):
    PROTOCOLS.add(_protocol.name, _protocol)


def parse_task(text: str) -> Task:
    """Read `protocol@dataset` and check the protocol; the dataset is not looked up.

    Raises:
        UnknownNameError: if there is no `@`, or no such protocol.

    >>> parse_task("knn@digits").dataset
    'digits'
    """
    protocol, at, dataset = text.partition("@")
    if not at or not dataset or not protocol:
        is_protocol = protocol in PROTOCOLS
        example = f"{protocol}@cifar10" if is_protocol else f"linear_probe@{dataset or protocol or 'cifar10'}"
        raise UnknownNameError(
            f"task {text!r} is not of the form 'protocol@dataset'; write for example {example!r}. "
            f"Protocols: {', '.join(PROTOCOLS)}."
        )
    PROTOCOLS[protocol]  # Raises with a suggestion.
    return Task(protocol, dataset)


def protocol_of(task: Task) -> ProtocolInfo:
    """The catalogue row of the task's protocol.

    Raises:
        UnknownNameError: if there is none.
    """
    return PROTOCOLS[task.protocol]
