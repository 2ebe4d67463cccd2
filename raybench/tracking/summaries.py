"""The runs above the trials: one per pair with its final numbers, and one for the experiment's ranking."""

import statistics
from collections.abc import Mapping, Sequence

from raybench.catalog.tasks import parse_task
from raybench.core.records import Pair, TrialRecord
from raybench.metrics import METRICS
from raybench.tracking.content import (
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


def pair_content(
    pair: Pair, records: Sequence[TrialRecord], labels: Labels, files: Mapping[str, str]
) -> RunContent:
    """The parent run of a pair: the numbers of its row in the results table.

    Metrics: every final value as its mean over seeds (`test/accuracy`) and, with several seeds, its sample
    standard deviation (`std/test/accuracy`); `num_trials` and `num_failed` of the search, `num_seeds`,
    `wall_seconds` (sum over trials), and `gain_over_default`: the best objective on val minus that of the
    default hyperparameters, positive is better, in the objective's unit.

    Args:
        records: the pair's finished records, of all stages.
        files: artifact path → text, shown beside the best search trial's packed grid.
    """
    search = [record for record in records if record.stage == "search"]
    final = current_final(records)
    ranked = _best_first(search, pair)
    end = milliseconds(max((record.started_at + record.wall_seconds for record in records), default=0))
    metrics = {**_over_seeds(final), **_counts(records, search, final), **_gain(ranked, pair)}
    keys = safe_keys(metrics)
    grid = {"grid.csv": as_csv(ranked[0].grid)} if ranked and ranked[0].grid else {}
    fingerprints = [str(record.provenance.get("dataset_fingerprint", "")) for record in final]
    return RunContent(
        key=pair.slug,
        name=f"{pair.backbone} {pair.task}",
        tags={
            **pair_tags(pair, labels),
            "raybench.kind": "pair",
            **_outcome_tags(records, search, final),
            **_winner_tags(final),
            **_size_of_pretraining(labels, pair.backbone),
        },
        points=tuple(
            Point(key=key, value=value, step=0, timestamp=end)
            for key, value in zip(keys, metrics.values(), strict=True)
        ),
        status=_status(records, search, final),
        start=milliseconds(min((record.started_at for record in records), default=0)),
        end=end,
        files={**grid, **files},
        dataset=(parse_task(pair.task).dataset, fingerprints[0]) if any(fingerprints) else None,
    )


def opening_content(pair: Pair, record: TrialRecord, labels: Labels) -> RunContent:
    """The parent run of a pair as it stands while its trials arrive; `pair_content` completes it."""
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
    """The run that holds the ranking; a `.md` file among `files` is also its description.

    Args:
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

    A search that was extended may have found another winner; the earlier one's trials stay in the ledger.
    """
    final = [record for record in records if record.stage == "final" and record.status == "completed"]
    if not final:
        return []
    latest = max(final, key=lambda record: (record.started_at, record.trial_id))
    return sorted((r for r in final if r.hparams == latest.hparams), key=lambda record: record.seed)


def _best_first(search: Sequence[TrialRecord], pair: Pair) -> list[TrialRecord]:
    """Search records that reached an objective on val; ties go to the earlier trial."""
    key, sign = _objective(pair)
    reached = [record for record in search if record.status != "failed" and key in record.metrics]
    return sorted(reached, key=lambda record: (-sign * record.metrics[key], record.index))


def _objective(pair: Pair) -> tuple[str, int]:
    """(`val/…` key of the objective, +1 if higher is better else -1)."""
    name = parse_task(pair.task).protocol.objective
    return f"val/{name}", 1 if METRICS[name].direction == "max" else -1


def _over_seeds(final: Sequence[TrialRecord]) -> dict[str, float]:
    keys = [key for key in (final[0].metrics if final else ()) if all(key in r.metrics for r in final)]
    values = {key: [record.metrics[key] for record in final] for key in keys}
    spread = {f"std/{key}": statistics.stdev(values[key]) for key in keys} if len(final) > 1 else {}
    return {**{key: statistics.fmean(values[key]) for key in keys}, **spread}


def _counts(
    records: Sequence[TrialRecord], search: Sequence[TrialRecord], final: Sequence[TrialRecord]
) -> dict[str, float]:
    return {
        "num_trials": float(len(search)),
        "num_failed": float(sum(record.status == "failed" for record in search)),
        "num_seeds": float(len(final)),
        "wall_seconds": sum(record.wall_seconds for record in records),
    }


def _gain(ranked: Sequence[TrialRecord], pair: Pair) -> dict[str, float]:
    key, sign = _objective(pair)
    defaults = [record.metrics[key] for record in ranked if record.index == 0]
    return {"gain_over_default": sign * (ranked[0].metrics[key] - defaults[0])} if defaults else {}


def _winner_tags(final: Sequence[TrialRecord]) -> dict[str, str]:
    """Tags, not parameters: MLflow never changes those, and an extended search may find another winner."""
    winner = {**final[0].chosen, **final[0].hparams} if final else {}
    return {key: str(value)[:MAX_TAG] for key, value in zip(_best_keys(winner), winner.values(), strict=True)}


def _size_of_pretraining(labels: Labels, backbone: str) -> dict[str, str]:
    images = labels.backbones.get(backbone, {}).get("pretrain_images", "")
    return {PRETRAIN_IMAGES_TAG: images} if images else {}


def _best_keys(names: Mapping[str, object]) -> list[str]:
    return safe_keys(f"best.{name}" for name in names)


def _outcome_tags(
    records: Sequence[TrialRecord], search: Sequence[TrialRecord], final: Sequence[TrialRecord]
) -> dict[str, str]:
    outcome = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "interrupted", "RUNNING": "running"}
    status = _status(records, search, final)
    failed = [record for record in records if record.status == "failed"]
    reason = {"raybench.reason": failed[-1].reason[:MAX_TAG]} if status == "FAILED" else {}
    return {"raybench.status": outcome[status], **reason}


def _status(
    records: Sequence[TrialRecord], search: Sequence[TrialRecord], final: Sequence[TrialRecord]
) -> RunStatus:
    """Measured, failed, or neither: interrupted before the final stage."""
    if final:
        return "FINISHED"
    if any(record.status == "failed" for record in records if record.stage != "search"):
        return "FAILED"
    return "FAILED" if search and all(record.status == "failed" for record in search) else "KILLED"
