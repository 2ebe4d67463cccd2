"""Recipes: for every pair a small spec with the winner's hyperparameters, its scores and its origin.

`raybench run` accepts a recipe as it is: no search, only the final stage with the same seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from raybench.catalog.space_edges import edges, next_values
from raybench.catalog.tasks import protocol_of
from raybench.core.condition import CLEAN
from raybench.core.records import HparamValue, Pair, TrialRecord, digest_of
from raybench.experiment.spec_entries import backbone_entry, dataset_entries, evaluator_entry, task_entry
from raybench.spec.experiment import ExperimentSpec
from raybench.store import layout, ledger
from raybench.store.files import StoragePath, write_atomic
from raybench.tuning.model_sampling import SETTINGS

REDUCED = ("batch_size", "micro_batch")
"""Hyperparameters that a trial reduces after running out of memory; its provenance states them."""


def write_all(
    storage: StoragePath, spec: ExperimentSpec, winners: Mapping[Pair, TrialRecord | None]
) -> list[StoragePath]:
    """Write a recipe for every pair whose final stage is measured; pairs that failed get none.

    Args:
        storage: of the experiment.
        spec: of the experiment.
        winners: pair → its best search trial; None without a search.

    Raises:
        StorageError: if the storage cannot be written.
    """
    written = []
    for pair, winner in winners.items():
        records = ledger.read_records(storage, spec.name, pair=pair, on_damaged=ledger.skip_damaged)
        finals = [r for r in records if r.stage == "final" and r.status == "completed"]
        if finals:
            path = layout.recipe_file(storage, spec.name, pair.slug)
            text = render(make_recipe(spec, pair, winner, finals))
            write_atomic(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
            written.append(path)
    return written


def make_recipe(
    spec: ExperimentSpec, pair: Pair, winner: TrialRecord | None, finals: Sequence[TrialRecord]
) -> dict[str, Any]:
    """The recipe as a mapping: keys of a spec file, and under `found` scores and origin.

    Args:
        spec: of the experiment.
        pair: the recipe's backbone and task.
        winner: the best search trial; None without a search.
        finals: completed final trials, at least one; all with the same hyperparameters.
    """
    protocol = pair.task.protocol
    evaluators = spec.evaluators_of(protocol).items()
    content: dict[str, Any] = {
        "backbones": [backbone_entry(spec.backbone(pair.backbone))],
        "tasks": [task_entry(spec, pair.task)],
        **dataset_entries(spec, pair),
        "budget": spec.budget.name,
        "max_epochs": {protocol: spec.max_epochs_of(protocol)},
        "seeds": sorted(record.seed for record in finals),
        "evaluators": [evaluator_entry(spec, name, settings) for name, settings in evaluators],
    }
    if spec.search.objective is not None:  # The final stage chooses its best epoch by it.
        content["search"] = {"objective": spec.search.objective}
    hparams = {**finals[0].hparams, **_smaller_batches(finals)}
    content |= {"hparams": hparams} if hparams else {}  # `pretrained_head` has none.
    if protocol_of(pair.task).uses_features and spec.features.changed:
        content["features"] = spec.features.changed
    if packed := finals[0].packed:
        # L-BFGS reaches a strength by way of the smaller ones in its grid.
        space = {name: list(values) for name, values in packed.items()}
        content["spaces"] = [{"protocol": protocol, "space": space}]
    resources = spec.resources.model_dump(exclude_none=True)
    share = resources.pop("protocols", {}).get(protocol)
    resources |= {protocol: share} if share else {}
    content |= {"resources": resources} if resources else {}
    readable = "".join(c if c.isascii() else "_" for c in pair.slug[:80])
    name = f"recipe-{readable}-{digest_of(content, 8)}"
    return {"name": name, **content, "found": _origin(spec, winner, finals)}


def render(recipe: Mapping[str, Any]) -> str:
    """The recipe as YAML, with a header of comments."""
    origin = recipe["found"]
    header = [
        f"# Asks:    does {origin['backbone']} on {origin['task']} give {_scores(origin)} again?",
        "# Run:     raybench run THIS_FILE",
        f"# Costs:   {len(recipe['seeds'])} trial(s), no search",
        f"# Expect:  {_scores(origin)}, to the last digit on the same CPU and versions",
        *(f"# Edge:    {sentence}" for sentence in origin.get("edges", {}).values()),
    ]
    body = yaml.safe_dump(
        dict(recipe), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return "\n".join([*header, body])


def edge_sentences(spec: ExperimentSpec, winner: TrialRecord) -> dict[str, str]:
    """Hyperparameter → a line for `spaces`, if the winner's value is at an end of its space or grid."""
    protocol, backbone = protocol_of(winner.pair.task), winner.pair.backbone
    space = spec.space_of(protocol.name, backbone)
    ends: dict[str, Any] = dict(edges(space, winner.hparams)) | dict(winner.edges)
    grid = protocol.packed_grid(winner.hparams, spec.packed_of(protocol.name, backbone))
    winning = {**winner.hparams, **winner.chosen}
    sentences = {}
    for name, end in ends.items():
        tried = f"{name} = {winning.get(name)} is the {end}est value tried"
        if (name, end) == ("epochs", "high"):
            sentences[name] = (
                f"{tried}; the best may lie beyond. To try it, raise `max_epochs.{protocol.name}` in an "
                "experiment of another name."
            )
            continue
        wider = next_values(name, end, space, grid, protocol.limits)
        if wider is not None:
            entry = {"protocol": protocol.name, "backbones": [backbone], "space": {name: wider}}
            line = yaml.safe_dump([entry], default_flow_style=True, sort_keys=False, width=10_000).strip()
            sentences[name] = f"{tried}; the best may lie beyond. To try it: `spaces: {line}`"
    return sentences


def _origin(
    spec: ExperimentSpec, winner: TrialRecord | None, finals: Sequence[TrialRecord]
) -> dict[str, Any]:
    """Scores, trials and versions, for people and programs; `raybench run` ignores them."""
    first = finals[0]
    origin: dict[str, Any] = {
        "experiment": spec.name,
        "backbone": first.pair.backbone,
        "task": str(first.pair.task),
        "objective": spec.objective_of(first.pair.task.protocol),
        "test": _per_seed(finals, "test"),
        "val": _per_seed(finals, "val"),
    }
    for name in REDUCED:
        if any(_reduced(finals, name)):
            origin[name] = _reduced(finals, name)
    if winner is not None:
        sampler, num_trials = spec.search.sampler, spec.search.num_trials
        origin["search"] = {
            "trial": winner.trial_id,
            "val": _metrics(winner, "val"),
            "sampler": sampler,
            "num_trials": num_trials,
            "seed": spec.search.seed,
        }
        if sampler in SETTINGS:
            origin["search"] |= {"max_parallel": spec.search.num_parallel, "settings": SETTINGS[sampler]}
        if sentences := edge_sentences(spec, winner):
            origin["edges"] = sentences
    for key in ("checkpoint_digest", "dataset_fingerprint", "device", "versions"):
        if key in first.provenance:
            value = first.provenance[key]
            origin[key] = dict(value) if isinstance(value, Mapping) else value
    return origin


def _smaller_batches(finals: Sequence[TrialRecord]) -> dict[str, HparamValue]:
    """The smallest minibatch or micro-batch to which memory limits reduced a final trial; empty if none was.

    Seeds may differ in it: `found` lists that of each.
    """
    sizes = {name: [size for size in _reduced(finals, name) if size is not None] for name in REDUCED}
    return {name: min(reduced) for name, reduced in sizes.items() if reduced}


def _reduced(finals: Sequence[TrialRecord], name: str) -> list[int | None]:
    """Reduced size per seed, in the order of `seeds`; None where it was not reduced."""
    sizes = [record.provenance.get(name) for record in sorted(finals, key=lambda r: r.seed)]
    return [None if size is None else int(size) for size in sizes]


def _per_seed(finals: Sequence[TrialRecord], split: str) -> dict[str, list[float]]:
    """Clean metric → its values, one per seed in the order of `seeds`."""
    ordered = [_metrics(record, split) for record in sorted(finals, key=lambda record: record.seed)]
    return {name: [metrics[name] for metrics in ordered] for name in ordered[0]}


def _metrics(record: TrialRecord, split: str) -> dict[str, float]:
    """Metric → value on clean images of the split."""
    return {v.metric: v.value for v in record.values if v.split == split and v.condition == CLEAN}


def _scores(origin: Mapping[str, Any]) -> str:
    values = origin["test"].get(origin["objective"])
    if not values:
        return "its scores"
    return f"test {origin['objective']} {sum(values) / len(values):.4f} (mean over {len(values)} seed(s))"
