"""Run a job: one Ray Tune `Tuner` for the whole experiment."""

import logging
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

from raybench.core.errors import StorageUnavailableError
from raybench.core.records import TrialRequest
from raybench.tuning.accelerators import placement
from raybench.tuning.cluster import Slots, ray_session, resolve_resources
from raybench.tuning.growth import Resources, autoscaler
from raybench.tuning.job import TrialListener, TuningJob, kind_of_trial
from raybench.tuning.termination import sigterm_interrupts
from raybench.tuning.watchdog import step_limit

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

MAX_RETRIES = 1
"""A trial whose process died (node lost, out of memory) is retried once, from its own checkpoint."""
MAX_CONCURRENT_TRIALS = 10_000
"""Tune needs a fixed limit; the limit that applies is `Slots`, which follows the cluster."""


def tune_experiment(job: TuningJob, listener: TrialListener) -> bool:
    """Run every trial that the studies still need; False if interrupted before all studies are finished.

    Raises:
        ResourceError: if no node can run one of the trials.
        StorageUnavailableError: if the storage is full or unreachable.
    """
    with ray_session(job.num_cpus):
        resources, slots = _resources_on_cluster(job, listener)
        return _run_tuner(job, listener, resources, slots)


def _resources_on_cluster(job: TuningJob, listener: TrialListener) -> tuple[dict[str, Resources], Slots]:
    """Resources of each kind of trial, and how many trials may run at once."""
    demand = job.resources
    with autoscaler() as scaler:
        resources = resolve_resources(
            demand,
            can_add=lambda resources: scaler.can_add(resources, demand.kinds),
            say=listener.note,
        )
        may_grow = scaler.is_available or bool(demand.wait_seconds)
        return resources, Slots(resources, may_grow=may_grow, kinds=demand.kinds)


def _run_tuner(
    job: TuningJob, listener: TrialListener, resources: dict[str, Resources], slots: Slots
) -> bool:
    from raybench.tuning.scheduler import ExperimentScheduler
    from raybench.tuning.searcher import ExperimentSearcher

    step_seconds = step_limit()

    def make_config(request: TrialRequest) -> dict[str, Any]:
        cpus, gpus = resources[kind_of_trial(request.pair.task.protocol, request.stage)]
        return {
            "storage": str(job.storage),
            "spec_digest": job.spec_digest,
            "request": request,
            "resources": {"cpus": cpus, "gpus": gpus, "kinds": list(job.resources.kinds)},
            "num_threads": max(1, int(cpus)),
            "step_seconds": step_seconds,
        }

    searcher = ExperimentSearcher(
        job.studies, listener, make_config=make_config, num_slots=slots, num_shards=job.num_shards
    )
    scheduler = ExperimentScheduler(
        early_stopping=job.early_stopping,
        failure_reasons=searcher.failure_reasons,
        notes=searcher.notes,
        studies=job.studies,
    )
    # raybench reports failures itself, with the reason; Tune would list its own trial ids.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="raybench-tune-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = _make_tuner(searcher, scheduler, scratch)
        with sigterm_interrupts(listener.on_sigterm):
            tuner.fit()
    if searcher.stopped_by is not None:
        raise StorageUnavailableError(
            f"the run has stopped, because the storage is full or unreachable: {searcher.stopped_by} "
            "Measurements so far are kept; rerun the same command to resume."
        )
    return all(study.is_finished for study in job.studies)


def _make_tuner(searcher: "Searcher", scheduler: "TrialScheduler", scratch: str) -> "tune.Tuner":
    """Ray's Tuner. Its own state goes to `scratch`: raybench resumes from its ledger (see study.py)."""
    from ray import tune

    from raybench.tuning.trainable import TrialTrainable

    return tune.Tuner(
        tune.with_resources(TrialTrainable, resources=lambda config: placement(**config["resources"])),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=MAX_CONCURRENT_TRIALS,
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
