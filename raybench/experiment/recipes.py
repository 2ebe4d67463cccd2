"""Recipes: for every pair a small spec that repeats its winner, and says where it came from.

"Which learning rate did you use?" is what users of every benchmark ask. A recipe answers with a file that
`raybench run` accepts: no search, only the final stage with the winner's hyperparameters and the same seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import yaml

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import find_backbone
from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.catalog.dataset_sources import FolderSource, ParquetSource
from raybench.catalog.datasets import DATASETS
from raybench.catalog.search_spaces import Float, edges, extension
from raybench.catalog.tasks import protocol_of
from raybench.core.condition import CLEAN
from raybench.core.errors import StorageError, UnknownNameError
from raybench.core.records import HparamValue, Pair, Task, TrialRecord, digest_of
from raybench.spec.experiment import ExperimentSpec
from raybench.store import layout, ledger
from raybench.store.files import StoragePath, read_bytes, write_atomic

_DATASET_KEYS = ("val_fraction", "examples_per_class", "unreadable")
_BACKBONE_KEYS = ("timm", "checkpoint", "kwargs", "family", "method", "pretrain_data", "pretrain_images")


def write_all(
    storage: StoragePath, spec: ExperimentSpec, winners: Mapping[Pair, TrialRecord | None]
) -> list[StoragePath]:
    """Write a recipe for every pair whose final stage is measured; pairs that failed get none.

    Args:
        storage: where the experiment was run.
        spec: what was asked for.
        winners: pair → its best search trial, None where nothing was searched (a recipe being repeated).

    Raises:
        StorageError: if the storage cannot be written.
    """
    written = []
    for pair, winner in winners.items():
        records = ledger.read_records(storage, spec.name, pair=pair)
        finals = [r for r in records if r.stage == "final" and r.status == "completed"]
        if finals:
            path = layout.recipe_file(storage, spec.name, pair.slug)
            text = render(make_recipe(spec, pair, winner, finals))
            write_atomic(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
            written.append(path)
    return written


def read_recipe(storage: StoragePath, experiment: str, pair: Pair) -> dict[str, Any]:
    """What `write_all` wrote for that pair.

    Raises:
        StorageError: if there is no recipe, or it cannot be read.
    """
    path = layout.recipe_file(storage, experiment, pair.slug)
    try:
        content = yaml.safe_load(read_bytes(path))
    except (OSError, yaml.YAMLError) as error:
        raise StorageError(
            f"no recipe of {pair.backbone!r} on {str(pair.task)!r} in {str(path)!r} ({error}); "
            "run the experiment first."
        ) from error
    if not isinstance(content, dict):
        raise StorageError(f"{str(path)!r} holds no recipe; run the experiment again to have it written.")
    return content


def make_recipe(
    spec: ExperimentSpec, pair: Pair, winner: TrialRecord | None, finals: Sequence[TrialRecord]
) -> dict[str, Any]:
    """The recipe as a mapping: a spec file's keys, and under `found` where its numbers come from.

    Args:
        spec: what was asked for.
        pair: of whom.
        winner: the best search trial, if there was a search.
        finals: completed final trials, at least one; all have the same hyperparameters.
    """
    protocol, dataset = pair.task.protocol, spec.dataset_of(pair.task)
    hparams = {**finals[0].hparams, **_smaller_batches(finals)}
    content: dict[str, Any] = {
        "backbones": [_backbone_entry(spec.backbone(pair.backbone))],
        "tasks": [_portable_task(pair.task, dataset)],
        **_own_dataset(dataset),
        "budget": spec.budget.name,
        "max_epochs": {protocol: spec.max_epochs_of(protocol)},
        "seeds": sorted(record.seed for record in finals),
        "evaluators": [{name: settings} if settings else name for name, settings in spec.evaluators.items()],
        "hparams": hparams,
    }
    resources = spec.resources.model_dump(exclude_none=True)
    content |= {"resources": resources} if resources else {}
    readable = "".join(c if c.isascii() else "_" for c in pair.slug[:80])
    name = f"recipe-{readable}-{digest_of(content, 8)}"
    return {"name": name, **content, "found": _found(spec, winner, finals)}


def render(recipe: Mapping[str, Any]) -> str:
    """The recipe as YAML, with a header for a person."""
    found = recipe["found"]
    header = [
        f"# Asks:    does {found['backbone']} on {found['task']} give {_scores(found)} again?",
        "# Run:     raybench run THIS_FILE",
        f"# Costs:   {len(recipe['seeds'])} trial(s), no search",
        f"# Expect:  {_scores(found)}, to the last digit on the same CPU and versions",
        *(f"# Edge:    {sentence}" for sentence in found.get("edges", {}).values()),
    ]
    body = yaml.safe_dump(
        dict(recipe), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return "\n".join([*header, body])


def edge_sentences(spec: ExperimentSpec, winner: TrialRecord) -> dict[str, str]:
    """Hyperparameter → what to try, where the winner's value is the last of its space or packed grid."""
    protocol = protocol_of(winner.pair.task)
    space = dict(spec.space_of(protocol.name))
    touched: dict[str, Any] = dict(edges(space, winner.hparams)) | dict(winner.edges)
    for name, values in protocol.packed_grid(winner.hparams).items():
        numbers = [float(value) for value in values if not isinstance(value, str)]
        if numbers:
            low, high = min(numbers), max(numbers)
            space[name] = Float(low=low, high=high, log=low > 0, default=low)
    tried = {**winner.hparams, **winner.chosen}
    sentences = {}
    for name, end in touched.items():
        if name in space:
            low, high = extension(space[name], end)
            sentences[name] = (
                f"{name} = {tried.get(name)} is the {end}est value tried; the best may lie beyond, "
                f"try {low:g} to {high:g}."
            )
    return sentences


def _found(spec: ExperimentSpec, winner: TrialRecord | None, finals: Sequence[TrialRecord]) -> dict[str, Any]:
    """Scores, trials and versions; read by people and programs, ignored by `raybench run`."""
    first = finals[0]
    found: dict[str, Any] = {
        "experiment": spec.name,
        "backbone": first.pair.backbone,
        "task": str(first.pair.task),
        "objective": protocol_of(first.pair.task).objective,
        "test": _per_seed(finals, "test"),
        "val": _per_seed(finals, "val"),
    }
    if any(_batch_sizes(finals)):
        found["batch_size"] = _batch_sizes(finals)
    if winner is not None:
        sampler, num_trials = spec.search.sampler, spec.search.num_trials
        found["search"] = {
            "trial": winner.trial_id,
            "val": _metrics(winner, "val"),
            "sampler": sampler,
            "num_trials": num_trials,
            "seed": spec.search.seed,
        }
        if sentences := edge_sentences(spec, winner):
            found["edges"] = sentences
    for key in ("checkpoint_digest", "dataset_fingerprint", "device", "versions"):
        if key in first.provenance:
            value = first.provenance[key]
            found[key] = dict(value) if isinstance(value, Mapping) else value
    return found


def _smaller_batches(finals: Sequence[TrialRecord]) -> dict[str, HparamValue]:
    """The smallest minibatch that a final trial fell back to when memory ran out; empty if none did.

    Seeds may differ in it; what fitted once fits again, and `found.batch_size` says which had which.
    """
    sizes = _batch_sizes(finals)
    return {"batch_size": min(size for size in sizes if size is not None)} if any(sizes) else {}


def _batch_sizes(finals: Sequence[TrialRecord]) -> list[int | None]:
    """Per seed, in the order of `seeds`: the smaller minibatch, None where the one asked for fitted."""
    found = [record.provenance.get("batch_size") for record in sorted(finals, key=lambda r: r.seed)]
    return [None if size is None else int(size) for size in found]


def _per_seed(finals: Sequence[TrialRecord], split: str) -> dict[str, list[float]]:
    """Clean metric → its values, one per seed in the order of `seeds`."""
    ordered = [_metrics(record, split) for record in sorted(finals, key=lambda record: record.seed)]
    return {name: [metrics[name] for metrics in ordered] for name in ordered[0]}


def _metrics(record: TrialRecord, split: str) -> dict[str, float]:
    """Metrics on clean images of the split, by bare name."""
    return {v.metric: v.value for v in record.values if v.split == split and v.condition == CLEAN}


def _scores(found: Mapping[str, Any]) -> str:
    values = found["test"].get(found["objective"])
    if not values:
        return "its scores"
    return f"test {found['objective']} {sum(values) / len(values):.4f} (mean over {len(values)} seed(s))"


def _backbone_entry(info: BackboneInfo) -> str | dict[str, Any]:
    """The name where it alone says everything, else a row as a spec writes it."""
    # A spec can ask for random weights by name only.
    if info.weights == "random" or info == BackboneInfo.of_timm(info.name):
        return info.name
    try:
        if find_backbone(info.name).name == info.name:
            return info.name
    except UnknownNameError:
        pass
    blank = BackboneInfo.of_timm(info.timm)
    given = {key: getattr(info, key) for key in _BACKBONE_KEYS if getattr(info, key) != getattr(blank, key)}
    entry = {"name": info.name, "timm": info.timm, **given}
    if info.preprocessing:
        entry["preprocessing"] = dict(info.preprocessing)
    return {key: _plain(value) for key, value in entry.items()}


def _portable_task(task: Task, dataset: DatasetInfo) -> str:
    """The task's text with an absolute path, if it holds a path: a recipe lies elsewhere than its spec."""
    prefix, colon, _ = task.dataset.partition(":")
    is_path = colon and isinstance(dataset.source, FolderSource | ParquetSource)
    return f"{task.protocol}@{prefix}:{dataset.source.location}" if is_path else str(task)


def _own_dataset(info: DatasetInfo) -> dict[str, Any]:
    """The `datasets` key, for a dataset that neither the catalogue nor its own name describes."""
    if info.name in DATASETS or ":" in info.name:
        return {}
    source = asdict(info.source)
    entry: dict[str, Any] = {source.pop("kind"): source.pop("location"), "splits": info.splits}
    for record, keys in ((info, _DATASET_KEYS), (info.source, tuple(source))):
        default = {field.name: field.default for field in fields(record)}
        entry |= {key: getattr(record, key) for key in keys if getattr(record, key) != default[key]}
    if info.queries is not None:
        unsaid = asdict(Queries(kind=info.queries.kind)) | {"kind": None}
        said = asdict(info.queries)
        entry["queries"] = {key: said[key] for key in said if said[key] != unsaid[key]}
    return {"datasets": {info.name: _plain(entry)}}


def _plain(value: Any) -> Any:
    """Lists and dicts only, as YAML's safe dumper wants them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
