"""One `Tuner` for the whole experiment."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from raybench.core.errors import StorageUnavailableError
from raybench.core.records import TrialRequest
from raybench.store.files import StoragePath
from raybench.tuning.accelerators import placement
from raybench.tuning.cluster import Slots, ray_session, resolve_resources
from raybench.tuning.growth import Resources, autoscaler
from raybench.tuning.study import PairStudy
from raybench.tuning.termination import sigterm_interrupts
from raybench.tuning.watchdog import step_limit

if TYPE_CHECKING:
    from raybench.tuning.searcher import Collect, OnEnd

MAX_RETRIES = 1
"""A trial whose process died (node lost, out of memory) is tried once more from its own checkpoint."""
MAX_TRIALS_UNDER_WAY = 10_000
"""For Tune, which takes a fixed number; `Slots` follows the cluster."""


def tune_experiment(
    studies: list[PairStudy],
    *,
    storage: StoragePath,
    spec_revision: str,
    resources: dict[str, Resources],
    demanded: tuple[bool, bool],
    kinds: Sequence[str] = (),
    feature_key: Callable[[PairStudy], str],
    with_features: set[str],
    early_stopping: str,
    num_cpus: int | None,
    on_start: Callable[[TrialRequest], None],
    collect: "Collect",
    on_end: "OnEnd",
    on_sigterm: Callable[[], None] = lambda: None,
    wait_seconds: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Run every trial the studies still ask for; True if it ended by itself, False if it was interrupted.

    Args:
        resources: protocol name → (CPUs, GPUs) of one of its trials.
        demanded: whether the spec itself demands those CPUs, those GPUs; else they are cut to what there is.
        kinds: the kinds of GPUs that trials with any may run on; all if empty.
        feature_key: names what a study's features stage computes; studies of one key share it.
        with_features: keys whose features stage is already done.
        num_cpus: limit of a local Ray; None takes the machine's.
        on_start, collect, on_end: called in the driver, from Tune's own thread.
        on_sigterm: called when this process is asked to leave, which then ends like an interrupt.
        wait_seconds, say: for nodes that are not there yet; see `resolve_resources`.

    Raises:
        ResourceError: if no node can ever run one of the trials.
        StorageUnavailableError: if the storage takes no writes any more: full, or away for long.
    """
    with ray_session(num_cpus):
        with autoscaler() as asked:
            resources = resolve_resources(
                resources,
                demanded,
                kinds=kinds,
                can_add=lambda wish: asked.can_add(wish, kinds),
                wait_seconds=wait_seconds,
                say=say,
            )
            slots = Slots(resources, may_grow=asked.is_there or bool(wait_seconds), kinds=kinds)
        step_seconds = step_limit()
        from ray import tune

        from raybench.tuning.scheduler import ExperimentScheduler
        from raybench.tuning.searcher import ExperimentSearcher
        from raybench.tuning.trainable import TrialTrainable

        def make_config(request: TrialRequest) -> dict[str, Any]:
            cpus, gpus = resources[_protocol_of(request)]
            return {
                "storage": str(storage),
                "spec_revision": spec_revision,
                "request": asdict(request),
                "resources": {"cpus": cpus, "gpus": gpus, "kinds": list(kinds)},
                "num_threads": max(1, int(cpus)),
                "step_seconds": step_seconds,
            }

        searcher = ExperimentSearcher(
            studies,
            with_features=with_features,
            feature_key=feature_key,
            make_config=make_config,
            on_start=on_start,
            collect=collect,
            on_end=on_end,
            num_slots=slots,
        )
        # What failed is said by raybench, with the reason; Tune would list its own trial ids.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        with tempfile.TemporaryDirectory(prefix="raybench-tune-") as scratch, warnings.catch_warnings():
            # Tune's own state is scratch: raybench continues from its ledger (see study.py).
            warnings.simplefilter("ignore")
            tuner = tune.Tuner(
                tune.with_resources(
                    TrialTrainable, resources=lambda config: placement(**config["resources"])
                ),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=ExperimentScheduler(
                        early_stopping=early_stopping, failure_reasons=searcher.failure_reasons
                    ),
                    num_samples=-1,
                    max_concurrent_trials=MAX_TRIALS_UNDER_WAY,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=scratch,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            with sigterm_interrupts(on_sigterm):
                tuner.fit()
    if searcher.stopped_by is not None:
        raise StorageUnavailableError(
            f"the run has stopped, because the storage takes no writes: {searcher.stopped_by} What was "
            "measured is kept, and the same command goes on."
        )
    return all(study.is_finished for study in studies)


def _protocol_of(request: TrialRequest) -> str:
    return request.pair.task.split("@", 1)[0]
