"""A tuning job (its studies and resources), and the listener that is told about its trials."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raybench.core.records import TrialRecord, TrialRequest
from raybench.store.files import StoragePath
from raybench.tuning.growth import Resources
from raybench.tuning.study import PairStudy


@dataclass(frozen=True, kw_only=True)
class ResourceDemand:
    """What one trial of each protocol occupies, and which part of that the spec requests explicitly."""

    per_trial: Mapping[str, Resources]
    """Protocol → (CPUs, GPUs) of one trial."""
    is_explicit: tuple[bool, bool] = (False, False)
    """Whether the spec sets (CPUs, GPUs); otherwise they are defaults, clamped to the largest node."""
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
    early_stopping: Literal["none", "asha"] = "none"
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
