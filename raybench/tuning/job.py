"""A tuning job (its studies and resources), and the listener that is told about its trials."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from raybench.core.records import Stage, TrialRecord, TrialRequest
from raybench.spec.experiment import EarlyStopping
from raybench.store.files import StoragePath
from raybench.tuning.growth import Resources
from raybench.tuning.study import PairStudy


def kind_of_trial(protocol: str, stage: Stage) -> str:
    """Name of trials with the same resources: the features stage, or a protocol's search or final stage.

    >>> kind_of_trial("knn", "features"), kind_of_trial("knn", "search"), kind_of_trial("knn", "final")
    ('features', 'knn', 'knn, final stage')
    """
    if stage == "features":
        return "features"
    return protocol if stage == "search" else f"{protocol}, final stage"


@dataclass(frozen=True, kw_only=True)
class ResourceDemand:
    """What one trial of each kind occupies, and which part of that the spec requests explicitly."""

    per_trial: Mapping[str, Resources]
    """Kind of trial (`kind_of_trial`) → (CPUs, GPUs) of one."""
    is_explicit: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    """Kind of trial → whether the spec sets the CPUs, the GPUs; defaults are clamped to the largest node."""
    whole_gpu: Collection[str] = ()
    """Kinds of trials that get, where there is a GPU, a whole one and its share of the node's CPUs."""
    kinds: Sequence[str] = ()
    """Kinds of GPUs that trials with a GPU may run on; any if empty."""
    wait_seconds: float | None = None
    """How long to wait for missing nodes; None: only for nodes that the autoscaler can add, half an hour."""


@dataclass(frozen=True, kw_only=True)
class TuningJob:
    """Everything that one `Tuner` runs."""

    studies: list[PairStudy]
    storage: StoragePath
    spec_digest: str
    """Workers reload the stored spec when it changes."""
    resources: ResourceDemand
    num_shards: Mapping[str, int] = field(default_factory=dict)
    """Dataset → trials of its features stage, per backbone; one where it is not named."""
    early_stopping: EarlyStopping = "none"
    num_cpus: int | None = None
    """CPUs of a local Ray; None uses all of the machine's."""


class TrialListener(ABC):
    """Callbacks for the events of a job, all called in the driver process."""

    @abstractmethod
    def collect(self, request: TrialRequest, reason: str | None) -> TrialRecord:
        """Return the final record of an ended trial; `reason`: why its process died, if it did."""

    def on_start(self, request: TrialRequest) -> None:  # noqa: B027 - optional.
        """Called before a trial is handed to Tune."""

    def on_end(self, study: PairStudy, request: TrialRequest, record: TrialRecord) -> None:  # noqa: B027
        """Called after the record of an ended trial was added to its study."""

    def on_sigterm(self) -> None:  # noqa: B027
        """Called on SIGTERM; the job then ends as if interrupted."""

    def note(self, line: str) -> None:  # noqa: B027
        """Show the user a line, such as which nodes are waited for."""
