"""Content of the runs above the trials: one per pair with its final numbers, and one with the ranking."""

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raybench.catalog.tasks import protocol_of
from raybench.core.records import Pair, TrialRecord
from raybench.metrics import METRICS, Metric
from raybench.metrics.preference import preference, signed_objective
from raybench.tracking.dataset_inputs import DatasetInput
from raybench.tracking.run_content import (
    MAX_TAG,
    PRETRAIN_IMAGES_TAG,
    SPEC_DIGEST_TAG,
    Labels,
    Point,
    RunContent,
    RunStatus,
    as_csv,
    milliseconds,
    pair_tags,
    safe_keys,
)

STATUS_TAGS: Mapping[RunStatus, str] = {
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "interrupted",
    "RUNNING": "running",
}


def pair_content(
    pair: Pair,
    records: Sequence[TrialRecord],
    labels: Labels,
    files: Mapping[str, str],
    inputs: tuple[DatasetInput, ...] = (),
) -> RunContent:
    """Parent run of a pair, with the numbers of its row in the results table.

    Metrics: the mean over seeds of every final value (`test/accuracy`) and, with several seeds, its sample
    standard deviation (`std/test/accuracy`); `num_trials` and `num_failed` of the search, `num_seeds`,
    `wall_seconds` (sum over trials), and `gain_over_default`: the best objective on val minus the objective
    of the default hyperparameters, positive is better, in the objective's unit.

    Args:
        pair: the pair.
        records: the pair's finished records, of all stages.
        labels: the experiment's labels.
        files: artifact path → text, attached together with the best search trial's packed grid.
        inputs: splits that the pair's trials have read.
    """
    trials = PairTrials(pair, tuple(records), labels.objective or protocol_of(pair.task).objective)
    end = milliseconds(max((record.started_at + record.wall_seconds for record in records), default=0))
    metrics = {**trials.final_metrics, **trials.counts, **trials.gain_over_default}
    keys = safe_keys(metrics)
    best = trials.best_first[0] if trials.best_first else None
    return RunContent(
        key=pair.slug,
        name=f"{pair.backbone} {pair.task}",
        tags={
            **pair_tags(pair, labels),
            "raybench.kind": "pair",
            **trials.status_tags,
            **trials.winner_tags,
            **trials.description_tag,
            **_pretrain_images_tag(labels, pair.backbone),
        },
        points=tuple(
            Point(key=key, value=value, step=0, timestamp=end)
            for key, value in zip(keys, metrics.values(), strict=True)
        ),
        status=trials.status,
        start=milliseconds(min((record.started_at for record in records), default=0)),
        end=end,
        files={**({"grid.csv": as_csv(best.grid)} if best and best.grid else {}), **files},
        dataset=trials.dataset,
        inputs=inputs,
    )


def opening_content(pair: Pair, record: TrialRecord, labels: Labels) -> RunContent:
    """Parent run of a pair whose trials still arrive; `pair_content` completes it."""
    start = milliseconds(record.started_at)
    return RunContent(
        key=pair.slug,
        name=f"{pair.backbone} {pair.task}",
        tags={**pair_tags(pair, labels), "raybench.kind": "pair", "raybench.status": "running"},
        status="RUNNING",
        start=start,
        end=start,
    )


def summary_content(files: Mapping[str, str], labels: Labels, at: float) -> RunContent:
    """Run with the ranking; the first `.md` file is also its description.

    Args:
        files: artifact path → text.
        labels: the experiment's labels.
        at: when the last trial ended, seconds since the epoch, UTC.
    """
    notes = [text for path, text in sorted(files.items()) if path.endswith(".md")]
    return RunContent(
        key="summary",
        name="summary",
        tags={
            "raybench.kind": "summary",
            "raybench.experiment": labels.experiment,
            SPEC_DIGEST_TAG: labels.spec_digest,
            "raybench.storage_id": labels.storage_id,
            "mlflow.source.name": "raybench",
            **({"mlflow.note.content": notes[0][:MAX_TAG]} if notes else {}),
        },
        status="FINISHED",
        start=milliseconds(at),
        end=milliseconds(at),
        files=files,
    )


def current_final(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Completed final records of the latest winner, by seed.

    Final trials of an earlier winner stay in the ledger when an extended search finds another winner.
    """
    final = [record for record in records if record.stage == "final" and record.status == "completed"]
    if not final:
        return []
    latest = max(final, key=lambda record: (record.started_at, record.trial_id))
    return sorted((r for r in final if r.hparams == latest.hparams), key=lambda record: record.seed)


@dataclass(frozen=True)
class PairTrials:
    """The finished trials of one pair, and the metrics and tags of its parent run."""

    pair: Pair
    records: tuple[TrialRecord, ...]
    objective: str
    """Metric that the search optimises on val."""

    @functools.cached_property
    def search(self) -> list[TrialRecord]:
        return [record for record in self.records if record.stage == "search"]

    @functools.cached_property
    def final(self) -> list[TrialRecord]:
        return current_final(self.records)

    @functools.cached_property
    def best_first(self) -> list[TrialRecord]:
        """Search records with an objective on val, the preferred one first."""
        keyed = [(key, r) for r in self.search if (key := preference(r, self._objective)) is not None]
        return [record for _, record in sorted(keyed, key=lambda entry: entry[0], reverse=True)]

    @property
    def status(self) -> RunStatus:
        """Finished with final trials; failed; else killed: interrupted before the final stage."""
        if self.final:
            return "FINISHED"
        if any(record.status == "failed" for record in self.records if record.stage != "search"):
            return "FAILED"
        return "FAILED" if self.search and all(r.status == "failed" for r in self.search) else "KILLED"

    @property
    def final_metrics(self) -> dict[str, float]:
        """Means over seeds, and standard deviations of several seeds, of metrics that every seed has."""
        of_seeds = [record.by_key for record in self.final]
        keys = [key for key in (of_seeds[0] if of_seeds else {}) if all(key in one for one in of_seeds)]
        values = {key: [one[key] for one in of_seeds] for key in keys}
        means = {key: statistics.fmean(values[key]) for key in keys}
        if len(self.final) < 2:
            return means
        return {**means, **{f"std/{key}": statistics.stdev(values[key]) for key in keys}}

    @property
    def counts(self) -> dict[str, float]:
        return {
            "num_trials": float(len(self.search)),
            "num_failed": float(sum(record.status == "failed" for record in self.search)),
            "num_seeds": float(len(self.final)),
            "wall_seconds": sum(record.wall_seconds for record in self.records),
        }

    @property
    def gain_over_default(self) -> dict[str, float]:
        """Empty if the trial with the default hyperparameters (index 0) has no objective."""
        default = next((record for record in self.best_first if record.index == 0), None)
        if default is None:
            return {}
        best, base = (signed_objective(record, self._objective) for record in (self.best_first[0], default))
        return {} if best is None or base is None else {"gain_over_default": best - base}

    @property
    def status_tags(self) -> dict[str, str]:
        failed = [record for record in self.records if record.status == "failed"]
        reason = {"raybench.reason": failed[-1].reason[:MAX_TAG]} if self.status == "FAILED" else {}
        return {"raybench.status": STATUS_TAGS[self.status], **reason}

    @property
    def winner_tags(self) -> dict[str, str]:
        """Winning hyperparameters, as tags: MLflow parameters cannot change when the winner changes."""
        winner = {**self.final[0].chosen, **self.final[0].hparams} if self.final else {}
        keys = safe_keys(f"best.{name}" for name in winner)
        return {key: str(value)[:MAX_TAG] for key, value in zip(keys, winner.values(), strict=True)}

    @property
    def description_tag(self) -> dict[str, str]:
        """The run's description: metrics whose names do not say all, such as upper bounds."""
        measured = {value.metric for record in self.final for value in record.values}
        known = [METRICS[name] for name in sorted(measured) if name in METRICS]  # Plug-ins come and go.
        qualified = [metric for metric in known if metric.qualifier]
        text = "; ".join(f"`{metric.name}`: {metric.qualifier}" for metric in qualified)
        return {"mlflow.note.content": text} if text else {}

    @property
    def dataset(self) -> tuple[str, str] | None:
        """Name and fingerprint of the dataset, once a final trial has read it."""
        fingerprints = [str(record.provenance.get("dataset_fingerprint", "")) for record in self.final]
        return (self.pair.task.dataset, fingerprints[0]) if any(fingerprints) else None

    @property
    def _objective(self) -> Metric:
        return METRICS[self.objective]


def _pretrain_images_tag(labels: Labels, backbone: str) -> dict[str, str]:
    images = labels.backbones.get(backbone, {}).get("pretrain_images")
    return {} if images is None else {PRETRAIN_IMAGES_TAG: str(images)}
