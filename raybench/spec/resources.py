"""`resources` of a spec: what one trial occupies."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from raybench.catalog.feature_settings import IMAGES_PER_SHARD, SHARD_MULTIPLE
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import Stage
from raybench.spec.part import SpecPart

ACCELERATOR = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
"""Valid values of a label in Ray."""

Cpus = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Gpus = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TrialShare(SpecPart):
    """What one trial of a stage or protocol occupies; None where the default applies."""

    cpus: Cpus | None = None
    gpus: Gpus | None = None


class FeaturesShare(TrialShare):
    """What a trial of the features stage occupies, and how much one trial computes."""

    later_keys = ("images_per_shard",)
    images_per_shard: Annotated[int, Field(ge=SHARD_MULTIPLE, multiple_of=SHARD_MULTIPLE)] | None = None
    """Images of one trial; None: IMAGES_PER_SHARD."""


class ResourceSpec(SpecPart):
    """Resources of one trial, in place of the protocols' defaults.

    A protocol's name may be a key too: `finetune: {gpus: 1}`. A stage's share comes before a protocol's, and
    that before `cpus_per_trial` and `gpus_per_trial`.
    """

    later_keys = ("features", "final", "protocols")
    cpus_per_trial: Cpus | None = None
    gpus_per_trial: Gpus | None = None
    """Trials with a fraction share a GPU; 0 keeps every trial on CPUs, even on a cluster with GPUs."""
    accelerators: list[Annotated[str, Field(pattern=ACCELERATOR)]] | None = Field(default=None, min_length=1)
    """Kinds of GPUs that trials may use, by Ray's names (`H100`, `A100`)."""
    features: FeaturesShare | None = None
    """The features stage; by default one GPU with its share of the node's CPUs, which decode its images."""
    final: TrialShare | None = None
    """The final stage, with its evaluators; by default as in the search."""
    protocols: dict[str, TrialShare] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect_protocols(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        named = {key: share for key, share in value.items() if key in PROTOCOLS}
        rest = {key: content for key, content in value.items() if key not in named}
        return {**rest, "protocols": {**rest.get("protocols", {}), **named}} if named else rest

    @property
    def images_per_shard(self) -> int:
        """Images of one trial of the features stage."""
        stated = self.features.images_per_shard if self.features else None
        return stated or IMAGES_PER_SHARD

    def share(self, protocol: str, stage: Stage) -> TrialShare:
        """What the spec sets for a trial; None where the default applies."""
        of_stage = {"features": self.features, "final": self.final}.get(stage)
        shares = [of_stage or TrialShare(), self.protocols.get(protocol, TrialShare())]
        if stage == "features":
            shares = shares[:1]  # One features stage serves several protocols.
        shares.append(TrialShare(cpus=self.cpus_per_trial, gpus=self.gpus_per_trial))
        cpus = next((share.cpus for share in shares if share.cpus is not None), None)
        return TrialShare(cpus=cpus, gpus=next((s.gpus for s in shares if s.gpus is not None), None))
