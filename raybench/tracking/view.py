"""The ledger's side of tracking: which runs an experiment has, each read when it is written."""

from collections.abc import Mapping
from typing import Any

from raybench.core.records import Pair, TrialRecord, digest_of
from raybench.report.render.figures import draw
from raybench.store.artifacts import read_curves
from raybench.store.files import StoragePath, read_bytes
from raybench.store.layout import recipe_file_of_slug
from raybench.store.ledger import load_spec, read_record, read_records
from raybench.store.measurements import measurements_of
from raybench.tracking.address import storage_id
from raybench.tracking.content import Labels, RunContent, trial_content
from raybench.tracking.store import RunWriter
from raybench.tracking.summaries import current_final, opening_content, pair_content, summary_content


class ExperimentView:
    """Brings single runs up to date. Every method may be called again after it has failed."""

    def __init__(self, storage: StoragePath, experiment: str, labels: Labels, writer: RunWriter) -> None:
        self._storage = storage
        self._experiment = experiment
        self._labels = labels
        self._writer = writer
        self._pairs: dict[str, Pair] = {}
        self._touched: set[str] = set()

    def finished_trials(self) -> list[str]:
        """Ids of the trials that have, or should have, a run; their pairs become known."""
        records = [r for r in read_records(self._storage, self._experiment) if r.status != "running"]
        for record in records:
            self._meet(record)
        return [record.trial_id for record in records if record.stage != "features"]

    def touched_pairs(self) -> list[str]:
        """Slugs of pairs of which something was written, or whose run shows no end; sorted.

        A pair may be written before its recipe is there, so one that was written counts too.
        """
        return sorted(
            slug for slug in self._pairs if slug in self._touched or not self._writer.is_settled(slug)
        )

    def all_pairs(self) -> list[str]:
        return sorted(self._pairs)

    def write_trial(self, trial_id: str) -> None:
        """Write the trial's run; a feature pass has none, and a running trial not yet.

        Raises:
            KeyError: if the ledger has no such trial.
        """
        record = read_record(self._storage, self._experiment, trial_id)
        if record is None:
            raise KeyError(f"trial {trial_id!r} is not in the ledger")
        if record.status == "running":
            return
        pair = self._meet(record)
        if record.stage == "features":
            return
        content = self._content(record)
        if self._writer.holds(content):
            return
        self._touched.add(pair.slug)
        self._writer.write_trial(content, parent=opening_content(pair, record, self._labels))

    def write_pair(self, slug: str) -> None:
        """Write the pair's final numbers, after those of its trials whose record has changed since.

        A final trial of an earlier winner is such a one: its record is taken back when a longer search has
        found another.
        """
        records = self._records_of(slug)
        if not records:
            return
        pair = self._meet(records[0])
        self._touched.add(slug)
        for record in records:
            if record.stage != "features":
                content = self._content(record)
                self._writer.write_trial(content, parent=opening_content(pair, record, self._labels))
        files = self._recipe(slug) | self._figures(records)
        self._writer.write_parent(pair_content(pair, records, self._labels, files))

    def _content(self, record: TrialRecord) -> RunContent:
        is_final = record.stage == "final"
        where = (self._storage, self._experiment, record.trial_id)
        return trial_content(record, self._labels, measurements_of(*where) if is_final else ())

    def _recipe(self, slug: str) -> dict[str, str]:
        """Artifact path → YAML; empty before the pair has a recipe."""
        path = recipe_file_of_slug(self._storage, self._experiment, slug)
        try:
            return {"recipe.yaml": read_bytes(path).decode()}
        except FileNotFoundError:
            return {}

    def _figures(self, records: list[TrialRecord]) -> dict[str, str]:
        """Artifact path → SVG, of what evaluators found on the first seed's classifier."""
        final = current_final(records)
        found: dict[str, str] = {}
        for evaluator in final[0].evaluations if final else ():
            kept = read_curves(self._storage, self._experiment, final[0].trial_id, evaluator)
            for name, rows in kept["curves"].items():
                drawing = draw(name, rows)
                found |= {f"figures/{name}.svg": drawing} if drawing else {}
            if kept["warnings"]:
                found[f"{evaluator}_warnings.txt"] = "\n".join(kept["warnings"])
        return found

    def write_summary(self, files: Mapping[str, str]) -> None:
        """Write the summary run: artifact path → text."""
        records = read_records(self._storage, self._experiment)
        at = max((record.started_at + record.wall_seconds for record in records), default=0.0)
        self._writer.write_parent(summary_content(files, self._labels, at))

    def _meet(self, record: TrialRecord) -> Pair:
        pair = Pair(backbone=record.backbone, task=record.task)
        self._pairs.setdefault(pair.slug, pair)
        return pair

    def _records_of(self, slug: str) -> list[TrialRecord]:
        """The pair's finished records; a trial id begins with its pair's slug."""
        records = read_records(self._storage, self._experiment, slug=slug)
        ended = [record for record in records if record.status != "running"]
        return sorted(ended, key=lambda record: record.trial_id)


def read_labels(storage: StoragePath, experiment: str) -> Labels:
    """The labels of an experiment's runs, from its stored spec where there is one."""
    spec = load_spec(storage, experiment) or {}
    return Labels(
        experiment=experiment,
        storage_id=storage_id(storage),
        spec_digest=digest_of(spec) if spec else "",
        backbones={row["name"]: _facts(row) for row in spec.get("backbones", [])},
        tasks=tuple(spec.get("tasks", ())),
    )


def _facts(row: Mapping[str, Any]) -> dict[str, str]:
    images = row.get("pretrain_images")
    return {
        "family": row.get("family", "unknown"),
        "method": row.get("method", "unknown"),
        **({"pretrain_images": str(images)} if images is not None else {}),
    }
