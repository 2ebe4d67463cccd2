"""One side of the overhead benchmark in its own process: `python -m tests.benchmarks.noop_trials SIDE N`.

Prints the times at which the first trials have ended (`begin`), N more have ended (`end`), and all of them
are in MLflow (`drained`).
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NUM_FIRST = 10
"""Trials that are not counted: workers start and load code during them."""
SLOTS = 2
SPEC = """
name: noop
backbones: [mini_resnet.random]
tasks: [noop@digits_10shot]
search: {{sampler: qmc, num_trials: {num_trials}, early_stopping: none}}
budget: thorough
seeds: [0]
"""


def mark(name: str) -> None:
    print("mark", name, time.time(), flush=True)


class Counter:
    """Prints the times at which trials end."""

    def __init__(self, num_first: int, num_counted: int) -> None:
        self._num_first, self._last = num_first, num_first + num_counted
        self.num_ended = 0

    def ended(self, drain: Any = lambda: None) -> None:
        self.num_ended += 1
        if self.num_ended == self._num_first:
            drain()
            mark("begin")
        if self.num_ended == self._last:
            mark("end")
            drain()
            mark("drained")


def with_raybench(num_trials: int, *, is_tracked: bool) -> None:
    """As in `experiment/run.py`, with marks in `on_end`."""
    from raybench.experiment.progress import make_progress
    from raybench.experiment.reconcile import final_record, make_studies, withdraw_superseded
    from raybench.spec import load_spec
    from raybench.store import ledger
    from raybench.tracking import Tracker
    from raybench.tuning.driver import tune_experiment
    from raybench.tuning.job import ResourceDemand, TrialListener, TuningJob
    from tests.benchmarks import noop_protocol

    noop_protocol.register()
    os.environ["RAY_RUNTIME_ENV_HOOK"] = f"{noop_protocol.__name__}.with_noop"
    counter = Counter(NUM_FIRST, num_trials)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        storage = Path(folder, "storage")
        file = Path(folder, "spec.yaml")
        file.write_text(SPEC.format(num_trials=NUM_FIRST + num_trials))
        spec = load_spec(file)
        ledger.save_spec(storage, spec.name, spec.to_dict())
        studies = make_studies(spec, [])
        progress = make_progress(studies, nowhere)
        tracker = Tracker(None, spec.name, storage)
        if is_tracked:
            tracker.start()

        def drain() -> None:
            while is_tracked and tracker.state.num_waiting:
                time.sleep(0.01)

        class Listener(TrialListener):
            def on_start(self, request: Any) -> None:
                progress.trial_started(request)

            def collect(self, request: Any, reason: str | None) -> Any:
                return final_record(storage, request, reason)

            def on_end(self, study: Any, request: Any, record: Any) -> None:
                if is_tracked:
                    tracker.log(record)
                progress.trial_ended(request, record)
                withdraw_superseded(storage, study)
                counter.ended(drain)

        job = TuningJob(
            studies=studies,
            storage=storage,
            spec_digest=spec.digest,
            resources=ResourceDemand(per_trial={"noop": (1.0, 0.0), "noop, final stage": (1.0, 0.0)}),
            num_cpus=SLOTS,
        )
        tune_experiment(job, Listener())
        unsent = tracker.close(timeout=None) if is_tracked else []
        records = ledger.read_records(storage, spec.name)
        is_complete = all(record.status == "completed" for record in records) and not unsent
        if is_complete and len(records) == NUM_FIRST + num_trials + 1:
            print(f"all trials completed in the ledger{' and in MLflow' if is_tracked else ''}", flush=True)
        else:
            print(len(records), [r.reason for r in records if r.status != "completed"][:3], unsent[:3])


def with_tune(num_trials: int, *, is_reused: bool) -> None:
    """Bare Tune: its default function trainable, or its fastest setting."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_reused:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"
    import ray
    from ray import tune

    num_first = NUM_FIRST if is_reused else 2
    counter = Counter(num_first, num_trials)

    class Marks(tune.Callback):
        def on_trial_complete(self, *args: Any, **kwargs: Any) -> None:
            counter.ended()

    class Nothing(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None: ...

        def step(self) -> dict[str, Any]:
            return {"objective": 0.5, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: Any) -> None: ...

    def nothing(config: dict[str, Any]) -> None:
        tune.report({"objective": 0.5})

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="error")
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            Nothing if is_reused else nothing,
            param_space={"x": tune.uniform(0.0, 1.0)},
            tune_config=tune.TuneConfig(num_samples=num_first + num_trials, reuse_actors=is_reused or None),
            run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0, callbacks=[Marks()]),
        )
        results = tuner.fit()
        if not results.errors and len(results) == num_first + num_trials:
            print("all trials completed", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    side, count = sys.argv[1], int(sys.argv[2])
    if side in ("raybench", "untracked"):
        with_raybench(count, is_tracked=side == "raybench")
    else:
        with_tune(count, is_reused=side == "reused")
