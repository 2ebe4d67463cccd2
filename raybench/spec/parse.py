"""Read a spec file: an ExperimentSpec, or an error with every mistake and its line."""

from pathlib import Path
from typing import Any

from raybench.catalog.budgets import BUDGETS, Budget
from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.feature_settings import FeatureSettings
from raybench.core.errors import SpecError, UnknownNameError
from raybench.core.records import HparamValue, Task
from raybench.spec.document import Document, Location, read_document
from raybench.spec.evaluators import resolve_evaluators
from raybench.spec.experiment import ExperimentSpec, SearchSpec, resolve_max_epochs
from raybench.spec.limits import (
    check_budget,
    check_features,
    check_hparams,
    check_objective,
    check_resources,
    check_seeds,
    complete_recipe,
    resolve_preset,
)
from raybench.spec.names import Report, resolve_backbones
from raybench.spec.queries import check_use
from raybench.spec.schema import BackboneEntry, DatasetEntry, SearchEntry, check_shape
from raybench.spec.search_checks import check_search
from raybench.spec.settings import restore_settings
from raybench.spec.space_checks import resolve_spaces
from raybench.spec.spaces import SpaceEntry
from raybench.spec.tasks import resolve_datasets, resolve_tasks


def load_spec(path: Path, *, needs_data: bool = True) -> ExperimentSpec:
    """Read, check and resolve a spec file, without reading images or weights.

    Args:
        needs_data: whether to report missing files of catalogue datasets that raybench cannot download; a
            plan needs none.

    Raises:
        SpecError: with all problems, each with its line, the value and what to write instead.
    """
    document = read_document(Path(path))
    shape, malformed = check_shape(document)
    reported: list[tuple[int, str]] = [(document.line(where), text) for where, text in malformed.items()]
    parts = _Parts(document, malformed)

    def report(location: Location, sentence: str) -> None:
        reported.append((document.line(location), sentence))

    backbones = resolve_backbones(parts.backbones(), document, report)
    tasks = resolve_tasks(parts.texts("tasks"), document, report)
    protocols = list(dict.fromkeys(task.protocol for _, task in tasks))
    evaluators = resolve_evaluators(parts.items("evaluators"), document, report)
    datasets = resolve_datasets(
        parts.datasets(),
        [*_task_datasets(tasks), *_evaluator_datasets(evaluators)],
        document,
        report,
        needs_data=needs_data,
    )
    budget = _budget(parts.value("budget", "standard"), report)
    search = parts.value("search", {})
    num_trials = search.get("num_trials")
    check_objective(search.get("objective"), protocols, report)
    explicit_epochs = parts.value("max_epochs", {})
    check_budget(budget, num_trials, explicit_epochs, protocols, report)
    check_resources(parts.value("resources", {}), protocols, report)
    check_features(parts.value("features", {}), parts.value("resources", {}), protocols, report)
    check_seeds(parts.value("seeds", []), report)
    hparams = _fixed_hparams(parts, num_trials, protocols, report)
    max_epochs = resolve_max_epochs(protocols, explicit_epochs, budget) if budget else {}
    spaces = resolve_spaces(
        parts.spaces(), [info.name for info in backbones], max_epochs, report, is_searched=hparams is None
    )
    _check_uses(tasks, datasets, report, is_chosen=hparams is None)
    if reported or document.problems or shape is None or budget is None:
        raise SpecError(str(path), _sentences(document, reported))
    spec = ExperimentSpec(
        name=shape.name,
        backbones=backbones,
        tasks=[task for _, task in tasks],
        datasets=datasets,
        search=_search(shape.search, budget),
        budget=budget,
        seeds=shape.seeds if shape.seeds is not None else list(range(budget.seeds)),
        evaluators=evaluators,
        resources=shape.resources,
        features=FeatureSettings(**shape.features.model_dump()),
        max_epochs=max_epochs,
        spaces=spaces,
        hparams=hparams,
    )
    check_search(spec, report)
    if reported:
        raise SpecError(str(path), _sentences(document, reported))
    return ExperimentSpec.from_dict(spec.to_dict())  # Equal to what a storage restores.


class _Parts:
    """The well-formed parts of a document, so that names are checked although other parts are malformed."""

    def __init__(self, document: Document, malformed: dict[Location, str]) -> None:
        self._data = document.data
        self._malformed = set(malformed)

    def value(self, key: str, default: Any) -> Any:
        """The key's value; the default where it is absent or anything in it is malformed."""
        is_malformed = any(location[:1] == (key,) for location in self._malformed)
        return default if is_malformed else self._data.get(key, default)

    def texts(self, key: str) -> list[tuple[int, str]]:
        """(Position, text) of the well-formed items of a list of names."""
        return [(position, item) for position, item in self.items(key) if isinstance(item, str)]

    def backbones(self) -> list[tuple[int, str | BackboneEntry]]:
        return [
            (position, item if isinstance(item, str) else BackboneEntry.model_validate(item))
            for position, item in self.items("backbones")
        ]

    def spaces(self) -> list[tuple[int, SpaceEntry]]:
        return [(position, SpaceEntry.model_validate(item)) for position, item in self.items("spaces")]

    def datasets(self) -> dict[str, DatasetEntry | None]:
        """Dataset name → its entry; None if malformed, so that its name still counts as defined."""
        entries = self._data.get("datasets") or {}
        if not isinstance(entries, dict):
            return {}
        return {
            str(name): DatasetEntry.model_validate(entry) if self._is_sound(("datasets", name)) else None
            for name, entry in entries.items()
        }

    def items(self, key: str) -> list[tuple[int, Any]]:
        """(Position, item) of the well-formed items of a list."""
        items = self._data.get(key)
        if not isinstance(items, list):
            return []
        return [(position, item) for position, item in enumerate(items) if self._is_sound((key, position))]

    def _is_sound(self, location: Location) -> bool:
        return not any(bad[: len(location)] == location for bad in self._malformed)


def _fixed_hparams(
    parts: _Parts, num_trials: int | None, protocols: list[str], report: Report
) -> dict[str, HparamValue] | None:
    """Hyperparameters that `hparams` or `preset` fixes; None if they are to be searched."""
    hparams = parts.value("hparams", None)
    check_hparams(hparams, num_trials, protocols, report)
    completed = None if hparams is None else complete_recipe(hparams, protocols)
    if preset := parts.value("preset", None):
        return resolve_preset(preset, completed, num_trials, protocols, report)
    return completed


def _task_datasets(tasks: list[tuple[int, Task]]) -> list[tuple[Location, str]]:
    return [(("tasks", position), task.dataset) for position, task in tasks]


def _evaluator_datasets(evaluators: dict[str, dict[str, Any]]) -> list[tuple[Location, str]]:
    """Datasets that evaluators read in addition to those of tasks."""
    return [
        (("evaluators", position), dataset)
        for position, (name, settings) in enumerate(evaluators.items())
        for dataset in restore_settings(EVALUATORS[name], settings).dataset_names
    ]


def _check_uses(
    tasks: list[tuple[int, Task]], datasets: dict[str, DatasetInfo], report: Report, *, is_chosen: bool
) -> None:
    for position, task in tasks:
        if task.dataset in datasets:
            where: Location = ("tasks", position)
            check_use(datasets[task.dataset], task.protocol, where, is_chosen=is_chosen, report=report)


def _budget(name: str, report: Any) -> Budget | None:
    try:
        return BUDGETS[name]
    except UnknownNameError as error:
        report(("budget",), str(error))
        return None


def _search(entry: SearchEntry, budget: Budget) -> SearchSpec:
    num_trials = budget.num_trials if entry.num_trials is None else entry.num_trials
    return SearchSpec(**{**entry.model_dump(), "num_trials": num_trials})


def _sentences(document: Document, reported: list[tuple[int, str]]) -> list[str]:
    """Problems by line, those of one line in the order of checking."""
    lines = [f"line {line}: {sentence}" for line, sentence in reported]
    unique = dict.fromkeys([*document.problems, *lines])
    return sorted(unique, key=lambda text: int(text.split(":")[0].removeprefix("line ")))
