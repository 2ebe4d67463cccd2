"""The checked spec of an experiment, with every name resolved."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
)

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.budgets import Budget
from raybench.catalog.datasets import DatasetInfo
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.info import EvaluatorSettings
from raybench.catalog.feature_settings import FeatureSettings
from raybench.catalog.search_spaces import Grid, SearchSpace
from raybench.catalog.space_changes import SpaceChange, changed_grid, changed_space
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import UnknownNameError
from raybench.core.records import HparamValue, Pair, Stage, Task, digest_of
from raybench.core.registry import suggest
from raybench.spec.part import SpecPart
from raybench.spec.resources import ResourceSpec
from raybench.spec.settings import resolve_settings, restore_settings
from raybench.spec.spaces import SpaceEntry
from raybench.spec.stored_datasets import StoredDataset

Sampler = Literal["random", "qmc", "tpe", "gp", "grid"]
MODEL_SAMPLERS: tuple[Sampler, ...] = ("tpe", "gp")
"""Samplers that learn from results."""
MAX_PARALLEL = 4
"""Trials of one pair that run at once under a sampler that learns from results."""
EarlyStopping = Literal["none", "asha", "hyperband", "median"]


def _as_task(value: object) -> object:
    return Task.parse(value) if isinstance(value, str) else value


TaskText = Annotated[Task, BeforeValidator(_as_task), PlainSerializer(str)]
"""A task that JSON and YAML write as `protocol@dataset`."""


class Converged(SpecPart):
    """A search ends once its best objective has not improved by more than `tolerance` in `trials` trials.

    The rule of Optuna's `BestValueStagnationEvaluator`, applied to the trials in the order of their indices.
    """

    trials: int = Field(ge=1)
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """In units of the objective on val: 0.001 is a tenth of a percentage point of accuracy."""


class SearchSpec(SpecPart):
    """Search of a pair's hyperparameters."""

    later_keys = ("objective", "grid_points", "max_parallel", "converged")
    sampler: Sampler = "qmc"
    """`qmc` (Sobol points), `random` and `grid` ignore results; `tpe` and `gp` (Gaussian process) learn."""
    num_trials: int = Field(ge=1)
    """Search trials per pair; the first one has the protocol's defaults."""
    early_stopping: EarlyStopping = "none"
    seed: int = Field(default=0, ge=0)
    objective: str | None = None
    """Metric on val that every study optimises; None: the protocol's own."""
    grid_points: dict[str, int] = Field(default_factory=dict)
    """Sampler `grid`: range → number of its values, both ends included."""
    max_parallel: int | None = Field(default=None, ge=1)
    """Sampler `tpe` or `gp`: trials of one pair that run at once; None: MAX_PARALLEL."""

    converged: Converged | None = None
    """When a search ends early; None: never."""

    @property
    def num_parallel(self) -> int:
        """Trials of one pair that run at once under a sampler that learns from results."""
        return self.max_parallel or MAX_PARALLEL


class ExperimentSpec(SpecPart):
    """One experiment, as `load_spec` reads it or `from_dict` restores it."""

    model_config = ConfigDict(strict=False)
    later_keys = ("spaces", "features")
    name: str
    backbones: list[BackboneInfo]
    tasks: list[TaskText]
    datasets: dict[str, StoredDataset]
    """Name → row, for every dataset that a task, an evaluator or another dataset names."""
    search: SearchSpec
    budget: Budget
    seeds: list[int]
    """Seeds of the final stage: one trial on test per pair and seed."""
    evaluators: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Evaluator → all of its settings."""
    resources: ResourceSpec = ResourceSpec()
    max_epochs: dict[str, int] = Field(default_factory=dict)
    """Protocol → epochs of one trial, for every protocol of `tasks`."""
    features: FeatureSettings = FeatureSettings()
    """How frozen features are computed."""
    spaces: list[SpaceEntry] = Field(default_factory=list)
    """Changes of the protocols' search spaces, each for some backbones; later ones win."""
    hparams: dict[str, HparamValue] | None = None
    """A recipe's fixed hyperparameters, packed ones included: no search, only the final stage with them."""

    @field_validator("evaluators", mode="before")
    @classmethod
    def _add_settings(cls, value: Any) -> Any:
        """Give bare names, which earlier versions stored, their default settings."""
        if isinstance(value, list):
            return {name: resolve_settings(EVALUATORS[name]).as_dict() for name in value}
        return value

    @field_serializer("backbones", mode="wrap")
    def _without_unset_entry_points(self, value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        """Omit empty entry points, so that rows keep the form and digest of earlier versions."""
        return [{k: v for k, v in row.items() if k != "entry_point" or v} for row in handler(value)]

    @field_serializer("features")
    def _without_default_settings(self, value: FeatureSettings) -> dict[str, Any]:
        return value.changed

    @property
    def protocols(self) -> list[str]:
        """Names of the protocols in use, in the order of `tasks`."""
        return list(dict.fromkeys(task.protocol for task in self.tasks))

    def pairs(self) -> list[Pair]:
        """Every backbone on every task, backbone by backbone."""
        return [Pair(backbone=info.name, task=task) for info in self.backbones for task in self.tasks]

    def backbone(self, name: str) -> BackboneInfo:
        """The backbone of that name.

        Raises:
            UnknownNameError: if the spec has none.
        """
        by_name = {info.name: info for info in self.backbones}
        if name not in by_name:
            raise UnknownNameError(
                f"experiment {self.name!r} has no backbone {name!r}{suggest(name, by_name) or '.'}"
            )
        return by_name[name]

    def dataset_of(self, task: Task) -> DatasetInfo:
        """The dataset of a task of this spec."""
        return self.datasets[task.dataset]

    def evaluators_of(self, protocol: str) -> dict[str, EvaluatorSettings]:
        """Evaluator → settings, for the evaluators that suit the protocol."""
        possible = PROTOCOLS[protocol].evaluators
        return {
            name: restore_settings(EVALUATORS[name], settings)
            for name, settings in self.evaluators.items()
            if EVALUATORS[name].needs in possible
        }

    def evaluators_reading(self, dataset: str) -> list[str]:
        """Evaluators that read a dataset in addition to those of tasks: by their settings, or as a shift."""
        is_shift = any(dataset in info.shifts for info in self.datasets.values())
        settings = {name: restore_settings(EVALUATORS[name], s) for name, s in self.evaluators.items()}
        return [
            name
            for name, s in settings.items()
            if dataset in s.dataset_names or (s.reads_shifts and is_shift)
        ]

    def objective_of(self, protocol: str) -> str:
        """Metric that studies of that protocol optimise on val."""
        return self.search.objective or PROTOCOLS[protocol].objective

    def max_epochs_of(self, protocol: str) -> int:
        """Epochs of one trial of that protocol: the spec's number, else the budget's, else the protocol's."""
        return self.max_epochs[protocol]

    def space_of(self, protocol: str, backbone: str) -> SearchSpace:
        """What Tune searches for that backbone, with epochs scaled to `max_epochs_of`."""
        info, max_epochs = PROTOCOLS[protocol], self.max_epochs_of(protocol)
        return changed_space(
            info.space_within(max_epochs), info, self._spaces_of(protocol, backbone), max_epochs
        )

    def packed_of(self, protocol: str, backbone: str) -> Grid:
        """Packed hyperparameters to which the spec gives other values for that backbone."""
        return changed_grid(PROTOCOLS[protocol], self._spaces_of(protocol, backbone))

    def _spaces_of(self, protocol: str, backbone: str) -> list[SpaceChange]:
        changes = [entry.change for entry in self.spaces]
        return [change for change in changes if change.applies_to(protocol, backbone)]

    def trial_resources(self, protocol: str, stage: Stage = "search") -> tuple[float, float]:
        """(CPUs, GPUs) of one trial, as the spec sets them, else the protocol's defaults."""
        info, share = PROTOCOLS[protocol], self.resources.share(protocol, stage)
        cpus = info.cpus if share.cpus is None else share.cpus
        gpus = info.gpus if share.gpus is None else share.gpus
        return cpus, gpus

    def sets_resources(self, protocol: str, stage: Stage = "search") -> tuple[bool, bool]:
        """Whether the spec sets (CPUs, GPUs); defaults are clamped to the cluster's largest node."""
        share = self.resources.share(protocol, stage)
        return share.cpus is not None, share.gpus is not None or self.resources.accelerators is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` restores an equal spec."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ExperimentSpec":
        return cls.model_validate(dict(content))

    @property
    def digest(self) -> str:
        """Changes whenever anything in the spec does."""
        return digest_of(self.to_dict())


def resolve_max_epochs(protocols: list[str], explicit: Mapping[str, int], budget: Budget) -> dict[str, int]:
    """Protocol → epochs of one trial: as the spec sets them, else the protocol's within the budget."""
    limit = budget.max_epochs
    defaults = {name: PROTOCOLS[name].max_epochs for name in protocols}
    within = {name: epochs if limit is None else min(epochs, limit) for name, epochs in defaults.items()}
    return {name: explicit.get(name, epochs) for name, epochs in within.items()}
