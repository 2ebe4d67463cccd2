"""Bring the runs of one experiment up to date with the ledger, one run at a time."""

from collections.abc import Mapping

from raybench.core.records import Pair, Split, TrialRecord, digest_of
from raybench.report.render.curve_figure import curve_svgs
from raybench.store.artifacts import read_curves
from raybench.store.files import StoragePath, read_bytes
from raybench.store.layout import recipe_file
from raybench.store.ledger import load_spec, pinned, read_record, read_records, skip_damaged
from raybench.store.measurements import measurements_of
from raybench.tracking.address import storage_id
from raybench.tracking.dataset_inputs import DatasetInput, dataset_inputs
from raybench.tracking.parent_runs import current_final, opening_content, pair_content, summary_content
from raybench.tracking.run_content import Labels, trial_content
from raybench.tracking.run_writer import RunWriter


class ExperimentSync:
    """Reads records from the ledger and writes their runs. Every method may be repeated after a failure."""

    def __init__(self, storage: StoragePath, experiment: str, labels: Labels, writer: RunWriter) -> None:
        self._storage = storage
        self._experiment = experiment
        self._labels = labels
        self._writer = writer
        self._pairs: dict[str, Pair] = {}
        self._changed: set[str] = set()
        self._fingerprints: dict[str, str] = {}

    def finished_trials(self) -> list[str]:
        """Ids of the finished trials, which each have a run; registers their pairs."""
        records = [
            r
            for r in read_records(self._storage, self._experiment, on_damaged=skip_damaged)
            if r.status != "running"
        ]
        for record in records:
            self._register(record)
        return [record.trial_id for record in records if record.stage != "features"]

    def changed_pairs(self) -> list[str]:
        """Slugs of pairs with newly written runs or an unfinished parent run, sorted.

        A pair whose run was written counts as changed too, because its recipe may have been missing then.
        """
        return sorted(
            slug for slug in self._pairs if slug in self._changed or not self._writer.is_finished(slug)
        )

    def all_pairs(self) -> list[str]:
        """Sorted slugs of all pairs that `finished_trials` or `write_trial` has met."""
        return sorted(self._pairs)

    def write_trial(self, trial_id: str) -> None:
        """Write the run of a finished trial; feature passes have none.

        Raises:
            KeyError: if the ledger has no such trial.
        """
        record = read_record(self._storage, self._experiment, trial_id)
        if record is None:
            raise KeyError(f"trial {trial_id!r} is not in the ledger")
        if record.status == "running":
            return
        pair = self._register(record)
        if record.stage != "features":
            self._write_trial(record, pair)

    def write_pair(self, slug: str) -> None:
        """Write the pair's final numbers, after those of its trials whose records have changed.

        A record of a final trial changes when a longer search finds another winner: it is withdrawn.
        """
        records = read_records(self._storage, self._experiment, slug=slug, on_damaged=skip_damaged)
        records = sorted((r for r in records if r.status != "running"), key=lambda record: record.trial_id)
        if not records:
            return
        pair = self._register(records[0])
        self._changed.add(slug)
        for record in records:
            if record.stage != "features":
                self._write_trial(record, pair)
        files = self._recipe(slug) | self._evaluator_files(records)
        inputs = self._inputs(records)
        self._writer.write_parent(pair_content(pair, records, self._labels, files, inputs))

    def write_summary(self, files: Mapping[str, str]) -> None:
        """Write the summary run with these artifacts (path → text)."""
        records = read_records(self._storage, self._experiment, on_damaged=skip_damaged)
        at = max((record.started_at + record.wall_seconds for record in records), default=0.0)
        self._writer.write_parent(summary_content(files, self._labels, at))

    def _write_trial(self, record: TrialRecord, pair: Pair) -> None:
        is_final = record.stage == "final"
        rows = measurements_of(self._storage, self._experiment, record.trial_id) if is_final else ()
        content = trial_content(record, self._labels, rows, self._inputs([record]))
        if not self._writer.is_written(content):
            self._changed.add(pair.slug)
            self._writer.write_trial(content, parent=opening_content(pair, record, self._labels))

    def _inputs(self, records: list[TrialRecord]) -> tuple[DatasetInput, ...]:
        """Splits that a pair's trials have read; empty if no trial got as far as reading the dataset."""
        dataset = records[0].pair.task.dataset
        if dataset not in self._fingerprints:
            fingerprint = pinned(self._storage, self._experiment, "dataset", dataset)
            if fingerprint is None:
                return ()
            self._fingerprints[dataset] = fingerprint
        splits: list[Split] = ["train", "val"]
        if any(record.stage == "final" for record in records):
            splits.append("test")
        row = self._labels.datasets.get(dataset, {})
        return dataset_inputs(dataset, row, self._fingerprints[dataset], splits)

    def _recipe(self, slug: str) -> dict[str, str]:
        """Artifact path → YAML; empty before the pair has a recipe."""
        try:
            recipe = read_bytes(recipe_file(self._storage, self._experiment, slug))
        except FileNotFoundError:
            return {}
        return {"recipe.yaml": recipe.decode()}

    def _evaluator_files(self, records: list[TrialRecord]) -> dict[str, str]:
        """Artifact path → text: figures (SVG) and warnings of the evaluators, for the first seed."""
        final = current_final(records)
        files: dict[str, str] = {}
        for evaluator in final[0].evaluations if final else ():
            stored = read_curves(self._storage, self._experiment, final[0].trial_id, evaluator)
            for name, svg in curve_svgs(evaluator, stored["curves"]).items():
                files[f"figures/{name}.svg"] = svg
            if stored["warnings"]:
                files[f"{evaluator}_warnings.txt"] = "\n".join(stored["warnings"])
        return files

    def _register(self, record: TrialRecord) -> Pair:
        return self._pairs.setdefault(record.pair.slug, record.pair)


def read_labels(storage: StoragePath, experiment: str) -> Labels:
    """Labels of an experiment's runs, from its stored spec if there is one."""
    spec = load_spec(storage, experiment) or {}
    return Labels(
        experiment=experiment,
        storage_id=storage_id(storage),
        spec_digest=digest_of(spec) if spec else "",
        backbones={row["name"]: row for row in spec.get("backbones", [])},
        datasets=spec.get("datasets", {}),
        tasks=tuple(spec.get("tasks", ())),
        objective=spec.get("search", {}).get("objective"),
    )
