"""The plan of a spec: trials and rough cost of `raybench run`, without starting anything."""

import textwrap
from dataclasses import dataclass

from raybench.catalog.grid import grid_choices
from raybench.catalog.listing import load_plugins
from raybench.catalog.search_spaces import num_choices
from raybench.catalog.tasks import PROTOCOLS, protocol_of
from raybench.core.records import Pair
from raybench.spec.experiment import ExperimentSpec
from raybench.spec.plan_cost import finetune_flops, pass_flops, total, unknown_sizes
from raybench.spec.plan_search import search_notes
from raybench.spec.plan_spaces import is_same_for_all, space_lines
from raybench.spec.tasks import is_missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolPlan:
    """Trials of all pairs of one protocol."""

    protocol: str
    num_pairs: int
    search_trials: int
    final_trials: int
    max_epochs: int
    num_packed: int
    """Heads or settings that one search trial with default hyperparameters tries at once; 1: no grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Trials, feature passes and rough cost of an experiment."""

    experiment: str
    num_backbones: int
    num_tasks: int
    pairs: list[Pair]
    protocols: list[ProtocolPlan]
    search_trials: int
    final_trials: int
    feature_passes: int
    """Distinct (backbone, dataset) for which features are extracted."""
    features: str
    """How they are computed."""
    forward_flops: float | None
    """Rough FLOPs of all feature passes, from parameters × images; None if no size is known."""
    finetune_flops: float | None
    """Rough FLOPs of all fine-tuning trials with all epochs; 0 without any, None if no size is known."""
    unknown_costs: list[str]
    """Backbones and datasets of unknown size, left out of both sums."""
    resources: str
    """CPUs and GPUs of a trial of each protocol, as text."""
    spaces: list[str]
    """What is searched, per protocol and group of backbones."""
    notes: list[str]

    def render(self) -> str:
        """Text for a terminal, at most 110 columns wide."""
        heads = ("protocol", "pairs", "search trials", "final trials", "epochs each", "tried per trial")
        rows = [
            (p.protocol, p.num_pairs, p.search_trials, p.final_trials, f"≤ {p.max_epochs}", p.num_packed)
            for p in self.protocols
        ]
        summary = [
            f"{self.experiment}: {self.num_backbones} backbones × {self.num_tasks} tasks "
            f"= {len(self.pairs)} pairs",
            *_table([heads, *[tuple(str(cell) for cell in row) for row in rows]]),
            f"trials          {self.search_trials} search + {self.final_trials} final "
            f"= {self.search_trials + self.final_trials}",
            f"feature passes  {self.feature_passes} (backbone × dataset; the storage already may hold some)",
            *([f"features        {self.features}"] if self.feature_passes else []),
            wrapped("each trial      ", self.resources),
            f"cost            {self._cost()}",
            *(wrapped("searched        ", line) for line in self.spaces),
        ]
        return "\n".join([*summary, *(wrapped("note            ", note) for note in self.notes)])

    def _cost(self) -> str:
        parts = []
        if self.feature_passes:
            parts.append(f"features {_effort(self.forward_flops)}")
        if self.finetune_flops != 0:
            parts.append(f"fine-tuning {_effort(self.finetune_flops)}")
        left_out = f"; sizes not known: {', '.join(self.unknown_costs)}" if self.unknown_costs else ""
        parts.append(wrapped("", f"rough; heads on cached features are not counted{left_out}", width=94))
        return "\n".join(parts).replace("\n", "\n" + " " * 16)


def make_plan(spec: ExperimentSpec) -> Plan:
    """Count what the spec asks for. Reads no image and no weight."""
    pairs = spec.pairs()
    protocols = [_protocol_plan(spec, name) for name in spec.protocols]
    passes = {(pair.backbone, pair.task.dataset) for pair in pairs if protocol_of(pair.task).uses_features}
    return Plan(
        experiment=spec.name,
        num_backbones=len(spec.backbones),
        num_tasks=len(spec.tasks),
        pairs=pairs,
        protocols=protocols,
        search_trials=sum(plan.search_trials for plan in protocols),
        final_trials=sum(plan.final_trials for plan in protocols),
        feature_passes=len(passes),
        features=spec.features.text,
        forward_flops=total([pass_flops(spec.backbone(b), spec.datasets[d]) for b, d in sorted(passes)]),
        finetune_flops=finetune_flops(spec, pairs),
        unknown_costs=unknown_sizes(spec),
        resources=_resources(spec),
        spaces=space_lines(spec),
        notes=_notes(spec),
    )


def _protocol_plan(spec: ExperimentSpec, protocol: str) -> ProtocolPlan:
    tasks = [task for task in spec.tasks if task.protocol == protocol]
    num_pairs = len(tasks) * len(spec.backbones)
    num_packed = 1
    if spec.hparams is None:
        changed = spec.packed_of(protocol, spec.backbones[0].name)
        for values in PROTOCOLS[protocol].packed_grid({}, changed).values():
            num_packed *= len(values)
    return ProtocolPlan(
        protocol=protocol,
        num_pairs=num_pairs,
        search_trials=sum(len(tasks) * search_trials_of(spec, protocol, b.name) for b in spec.backbones),
        final_trials=num_pairs * len(spec.seeds),
        max_epochs=spec.max_epochs_of(protocol),
        num_packed=num_packed,
    )


def search_trials_of(spec: ExperimentSpec, protocol: str, backbone: str) -> int:
    """Search trials of one pair: `num_trials`, but no more than a finite space has distinct choices."""
    space = spec.space_of(protocol, backbone)
    if spec.hparams is not None or not space:
        return 0
    if spec.search.sampler == "grid":
        return min(len(grid_choices(space, spec.search.grid_points)), spec.search.num_trials)
    distinct = num_choices(space)
    return spec.search.num_trials if distinct is None else min(distinct, spec.search.num_trials)


def _resources(spec: ExperimentSpec) -> str:
    """CPUs and GPUs per trial; protocols with the same resources are listed together."""
    by_size: dict[tuple[float, float], list[str]] = {}
    for name in spec.protocols:
        by_size.setdefault(spec.trial_resources(name), []).append(name)
        if (final := spec.trial_resources(name, "final")) != spec.trial_resources(name):
            by_size.setdefault(final, []).append(f"final stage of {name}")
    if (share := spec.resources.features) is not None and share.cpus and share.gpus is not None:
        by_size.setdefault((share.cpus, share.gpus), []).append("features")
    sizes = [f"{', '.join(names)}: {cpus:g} CPUs + {gpus:g} GPUs" for (cpus, gpus), names in by_size.items()]
    if not any(gpus for _, gpus in by_size):
        return " · ".join(sizes)
    if kinds := spec.resources.accelerators:
        return f"{' · '.join(sizes)} ({' or '.join(kinds)} only)"
    is_set = all(spec.sets_resources(name)[1] for name in spec.protocols)
    return " · ".join(sizes) + ("" if is_set else " (GPUs where there are any)")


def _notes(spec: ExperimentSpec) -> list[str]:
    notes = []
    if spec.hparams is not None:
        notes.append(
            "recipe: hyperparameters are given, so there is no search; val may still choose the best epoch."
        )
    if spec.hparams is None and spec.search.objective is not None:
        notes.append(f"the searches optimise {spec.search.objective} on val, by `search.objective`.")
    if spec.features.changed and set(spec.evaluators) & {"adversarial", "corruption", "shift"}:
        notes.append(
            "`features` changes stored features only: evaluators that change images pass them in float32."
        )
    if spec.hparams is None:
        notes += search_notes(spec.search)
    for name, info in spec.datasets.items():
        if is_missing(info):
            notes.append(f"dataset {name!r} is not in {info.source.location!r}. {info.steps}")
    if spec.hparams is None and not is_same_for_all(spec):
        notes.append("backbones get different search spaces, so their ranking also compares the spaces.")
    if len(spec.seeds) == 1:
        notes.append("one seed: the ranking can show no spread between runs; list more `seeds` for that.")
    if len(spec.backbones) == 1:
        notes.append("one backbone: there is nothing to rank it against.")
    return [*notes, *map(str, load_plugins())]


def _effort(flops: float | None) -> str:
    if flops is None:
        return "of unknown size"
    return (
        f"≈ {flops:.1e} FLOP: {_duration(flops / 3e10)} on one CPU core, {_duration(flops / 2e13)} on a GPU"
    )


def _duration(seconds: float) -> str:
    """Rounded duration in the largest unit that fits at least once.

    >>> _duration(0.2), _duration(200), _duration(200_000)
    ('seconds', '3 min', '2 d')
    """
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{round(seconds / length)} {unit}"
    return "seconds"


def wrapped(label: str, text: str, width: int = 110) -> str:
    """`label` and `text`, broken between words at `width` columns and indented under the text."""
    indent = " " * len(label)
    return textwrap.fill(text, width, initial_indent=label, subsequent_indent=indent, break_on_hyphens=False)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}".rstrip()
        for row in rows
    ]
