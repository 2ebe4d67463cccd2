"""What the driver is given: the studies, what a trial occupies, and whom to tell about trials."""

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
    """What trials occupy, and what the spec itself demands of it."""

    per_trial: Mapping[str, Resources]
    """Protocol → (CPUs, GPUs) of one trial."""
    is_demanded: tuple[bool, bool] = (False, False)
    """Whether the spec demands those CPUs, those GPUs; what it does not demand is clamped to the nodes."""
    kinds: Sequence[str] = ()
    """Kinds of GPUs that trials with a GPU may run on; all if empty."""
    wait_seconds: float | None = None
    """How long to wait for nodes that are not there yet; None: only for those an autoscaler can add."""


@dataclass(frozen=True, kw_only=True)
class TuningJob:
    """Everything that one `Tuner` is to run."""

    studies: list[PairStudy]
    storage: StoragePath
    spec_digest: str
    """Workers read the stored spec again when it changes."""
    resources: ResourceDemand
    early_stopping: Literal["none", "asha"] = "none"
    num_cpus: int | None = None
    """Limit of a local Ray; None takes the machine's."""


class TrialListener(ABC):
    """Is told about trials, in the driver, from Tune's own thread."""

    @abstractmethod
    def collect(self, request: TrialRequest, reason: str | None) -> TrialRecord:
        """Make the record of an ended trial final and return it; `reason`: why its process failed."""

    def on_start(self, request: TrialRequest) -> None:  # noqa: B027 - optional.
        """A trial is about to be handed to Tune."""

    def on_end(self, study: PairStudy, request: TrialRequest, record: TrialRecord) -> None:  # noqa: B027
        """A trial has ended and its study has taken note."""

    def on_sigterm(self) -> None:  # noqa: B027
        """This process was asked to leave; the job ends as if interrupted."""

    def note(self, line: str) -> None:  # noqa: B027
        """A line for the user, such as which nodes are waited for."""
