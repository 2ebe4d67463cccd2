"""Hyperparameter importance per task and protocol: Optuna's mean decrease of impurity, and its chance level.

Computed at the end of a run and stored with the spec: the report, which shows it, may not import Optuna.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench.catalog.search_spaces import SearchSpace, contains, union
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DamagedResultError
from raybench.core.records import HparamValue, Task, TrialRecord, digest_of
from raybench.metrics import METRICS
from raybench.spec import ExperimentSpec
from raybench.store import ledger
from raybench.store.files import StoragePath
from raybench.tuning.sampling import distribution_of

MIN_TRIALS = 8
"""With fewer trials over all pairs no importance is computed."""
NUM_SHUFFLES = 19
"""Shuffles for the chance level; a share above all 19 arises by chance in 1 of 20 cases."""
NUM_TREES = 64

Scored = tuple[Mapping[str, HparamValue], float]
"""(hyperparameters, objective standardised within its pair)."""


def store_importances(storage: StoragePath, spec: ExperimentSpec, records: Sequence[TrialRecord]) -> None:
    """Compute and store the experiment's importances, unless those of exactly these trials are stored.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    basis = digest_of(sorted(record.trial_id for record in records if _is_usable(record)))
    try:
        stored = ledger.load_importance(storage, spec.name)
    except DamagedResultError:
        stored = None
    if stored is None or stored.get("basis") != basis:
        rows = importances(spec, records)
        ledger.save_importance(storage, spec.name, {"basis": basis, "rows": rows})


def importances(spec: ExperimentSpec, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """One row per scope and hyperparameter, most important first: scope (a task, or a protocol over all its
    tasks), hyperparameter, importance, by_chance, num_trials, num_pairs.

    The objective is standardised within each pair, so that strong and weak backbones can be pooled; a pair
    whose trials all score the same is left out. `importance` is the mean decrease of impurity in a forest of
    NUM_TREES trees. These shares add up to 1 even if no hyperparameter matters, and favour those with many
    values. So `by_chance` is the largest share of the same hyperparameter in NUM_SHUFFLES forests fitted to
    objectives shuffled within pairs (Altmann et al., Bioinformatics 2010). Functional ANOVA, Optuna's other
    evaluator, takes 30 times as long, too long for that comparison.

    Only completed search trials count: scores of trials that were stopped early are not comparable.
    """
    by_task: dict[Task, dict[str, list[TrialRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if _is_usable(record):
            by_task[record.pair.task][record.pair.backbone].append(record)
    rows: list[dict[str, Any]] = []
    by_protocol: dict[str, list[list[Scored]]] = defaultdict(list)
    for task in sorted(by_task, key=str):
        space = _common_space(spec, task.protocol)
        objective = spec.objective_of(task.protocol)
        scored_pairs = [
            _standardised(trials, space, objective) for _, trials in sorted(by_task[task].items())
        ]
        pairs = [scored for scored in scored_pairs if scored]
        by_protocol[task.protocol] += pairs
        rows += _rows(str(task), pairs, space)
    for protocol, pairs in sorted(by_protocol.items()):
        if sum(task.protocol == protocol for task in by_task) > 1:
            rows += _rows(protocol, pairs, _common_space(spec, protocol))
    return rows


def _common_space(spec: ExperimentSpec, protocol: str) -> SearchSpace:
    """The dimensions that every backbone has; the range of each covers those of all backbones."""
    spaces = [spec.space_of(protocol, info.name) for info in spec.backbones]
    shared = [name for name in spaces[0] if all(name in space for space in spaces)]
    return {name: union([space[name] for space in spaces]) for name in shared}


def _is_usable(record: TrialRecord) -> bool:
    is_search = record.stage == "search" and record.status == "completed"
    return is_search and record.pair.task.protocol in PROTOCOLS


def _standardised(records: Sequence[TrialRecord], space: SearchSpace, objective: str) -> list[Scored]:
    """(Hyperparameters, standardised objective) of a pair's trials, higher is better; empty if all equal."""
    sign = 1.0 if METRICS[objective].direction == "max" else -1.0
    scored = [
        (hparams, sign * value)
        for r in records
        if contains(space, hparams := {name: r.hparams[name] for name in space if name in r.hparams})
        and (value := r.value_of("val", objective)) is not None
    ]
    values = np.array([value for _, value in scored])
    if len(scored) < 2 or np.ptp(values) == 0:
        return []
    standardised = (values - values.mean()) / values.std()
    return [(hparams, float(value)) for (hparams, _), value in zip(scored, standardised, strict=True)]


def _rows(scope: str, pairs: Sequence[Sequence[Scored]], space: SearchSpace) -> list[dict[str, Any]]:
    """The rows of one scope; none with fewer than MIN_TRIALS trials or if nothing varied."""
    num_trials = sum(len(pair) for pair in pairs)
    varied = {n: d for n, d in space.items() if len({repr(h[n]) for p in pairs for h, _ in p}) > 1}
    if num_trials < MIN_TRIALS or not varied:
        return []
    measured = _shares([scored for pair in pairs for scored in pair], varied)
    rng = np.random.default_rng(0)
    by_chance = dict.fromkeys(varied, 0.0)
    for _ in range(NUM_SHUFFLES):
        shuffled = [
            (hparams, float(value))
            for pair in pairs
            for (hparams, _), value in zip(pair, rng.permutation([v for _, v in pair]), strict=True)
        ]
        for name, share in _shares(shuffled, varied).items():
            by_chance[name] = max(by_chance[name], share)
    return [
        {
            "scope": scope,
            "hyperparameter": name,
            "importance": share,
            "by_chance": by_chance[name],
            "num_trials": num_trials,
            "num_pairs": len(pairs),
        }
        for name, share in sorted(measured.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _shares(scored: Sequence[Scored], space: SearchSpace) -> dict[str, float]:
    """Hyperparameter → its share of the mean decrease of impurity."""
    import optuna  # Deferred: a second of import.

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: distribution_of(dimension) for name, dimension in space.items()}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: hparams[name] for name in space}, distributions=distributions, value=value
            )
            for hparams, value in scored
        ]
    )
    evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(n_trees=NUM_TREES, seed=0)
    # In alphabetical order: with any other, Optuna 5.0 assigns the shares to the wrong names.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=sorted(space))
    return {name: float(share) for name, share in shares.items()}
