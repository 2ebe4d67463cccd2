"""Checks of a spec's values: budget, resources, seeds, hyperparameters of recipes and presets."""

from collections.abc import Mapping
from typing import Any

from raybench.catalog.budgets import BUDGETS, Budget
from raybench.catalog.feature_settings import GPU_ONLY
from raybench.catalog.search_spaces import Choice, Dimension
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import HparamValue
from raybench.core.registry import suggest
from raybench.metrics.retrieval import QUERIES_WITHOUT_POSITIVES
from raybench.spec.names import Report


def check_budget(
    budget: Budget | None,
    num_trials: int | None,
    max_epochs: Mapping[str, int],
    protocols: list[str],
    report: Report,
) -> None:
    """Report trials or epochs that exceed the budget."""
    if budget and num_trials is not None and num_trials > budget.num_trials:
        enough = [name for name, other in BUDGETS.items() if other.num_trials >= num_trials]
        advice = f"use budget {enough[0]!r} or lower num_trials" if enough else "lower num_trials"
        report(
            ("search", "num_trials"),
            f"budget {budget.name!r} allows {budget.num_trials} trials per pair, "
            f"but `search.num_trials` is {num_trials}; {advice}.",
        )
    for protocol, epochs in max_epochs.items():
        location = ("max_epochs", protocol)
        if protocol not in PROTOCOLS:
            hint = suggest(protocol, PROTOCOLS) or "."
            report(location, f"unknown protocol {protocol!r}{hint} Protocols: {', '.join(PROTOCOLS)}.")
        elif protocols and protocol not in protocols:
            report(location, f"max_epochs is given for {protocol!r}, but no task uses it; remove the line.")
        elif budget and budget.max_epochs is not None and epochs > budget.max_epochs:
            report(
                location,
                f"budget {budget.name!r} allows {budget.max_epochs} epochs, but `max_epochs.{protocol}` is "
                f"{epochs}; lower it or use budget 'standard'.",
            )


def check_objective(objective: str | None, protocols: list[str], report: Report) -> None:
    """Report an objective that one of the protocols does not measure on val."""
    for protocol in protocols:
        possible = [name for name in PROTOCOLS[protocol].metrics if name != QUERIES_WITHOUT_POSITIVES]
        if objective is not None and objective not in possible:
            hint = suggest(objective, possible) or "."
            report(
                ("search", "objective"),
                f"{protocol} does not measure {objective!r} on val, so a search cannot optimise it{hint} "
                f"It measures {', '.join(possible)}.",
            )


def check_resources(resources: Mapping[str, Any], protocols: list[str], report: Report) -> None:
    """Report kinds of GPUs without any GPU per trial, and resources of protocols that no task uses."""
    for protocol in [name for name in resources if name in PROTOCOLS] + list(resources.get("protocols", {})):
        if protocols and protocol not in protocols:
            report(
                ("resources", protocol),
                f"`resources` is given for {protocol!r}, but no task uses it; remove the line.",
            )
    if resources.get("accelerators") and resources.get("gpus_per_trial") == 0:
        report(
            ("resources", "accelerators"),
            "`resources.accelerators` says which GPUs will do, but `resources.gpus_per_trial` is 0; "
            "remove one of them.",
        )


def check_features(
    features: Mapping[str, Any], resources: Mapping[str, Any], protocols: list[str], report: Report
) -> None:
    """Report a precision that CPUs lack where no trial gets a GPU, and settings that no protocol reads."""
    precision = features.get("precision")
    gpus = (resources.get("features") or {}).get("gpus", resources.get("gpus_per_trial"))
    if precision in GPU_ONLY and gpus == 0:
        report(
            ("features", "precision"),
            f"`features.precision` {precision} needs an NVIDIA GPU, but `resources` give the features stage "
            "none; take float32 or bfloat16.",
        )
    if features and protocols and not any(PROTOCOLS[name].uses_features for name in protocols):
        report(
            ("features",),
            f"`features` is given, but {', '.join(protocols)} computes no frozen features; remove the line.",
        )


def check_seeds(seeds: list[int] | None, report: Report) -> None:
    """Report repeated seeds."""
    for position, seed in enumerate(seeds or []):
        if seed in (seeds or [])[:position]:
            report(("seeds", position), f"seed {seed} is listed twice; a repeated seed repeats its trial.")


def check_hparams(
    hparams: Mapping[str, HparamValue] | None, num_trials: int | None, protocols: list[str], report: Report
) -> None:
    """Report hyperparameters of a recipe that a protocol lacks, of a wrong type, or missing.

    `batch_size` may be any whole number: memory may have allowed only a smaller one than the space offers.
    """
    if hparams is None:
        return
    if num_trials is not None:
        report(
            ("search", "num_trials"), "`hparams` fixes the hyperparameters, so there is nothing to search."
        )
    for protocol in protocols:
        space = PROTOCOLS[protocol].space
        packed, optional = PROTOCOLS[protocol].packed_values, PROTOCOLS[protocol].optional
        dimensions = {**optional, **space}
        for name, value in hparams.items():
            location = ("hparams", name)
            if name == "batch_size" and PROTOCOLS[protocol].minibatch is not None:
                if type(value) is not int or value < 1:
                    report(location, f"`hparams.batch_size` must be a whole number from 1, got {value!r}.")
            elif name not in space and name not in packed and name not in optional:
                names = [*space, *optional, *packed]
                hint = suggest(name, names) or "."
                report(
                    location, f"{protocol} has no hyperparameter {name!r}{hint} It has {', '.join(names)}."
                )
            elif name in dimensions and (
                problem := _misfit(dimensions[name], value, PROTOCOLS[protocol].on_request.get(name, ()))
            ):
                report(location, f"`hparams.{name}` {problem}, got {value!r}.")
            elif name in packed and (
                isinstance(value, bool) or (isinstance(value, str) and value not in packed[name])
            ):
                report(location, f"`hparams.{name}` must be a number, got {value!r}.")
            elif problem := _beyond(PROTOCOLS[protocol].limits.get(name), value):
                report(location, f"`hparams.{name}` {problem}, got {value!r}.")
        present = {*hparams, *PROTOCOLS[protocol].added_later}
        missing = [name for name in space if name not in present]
        if missing:
            report(
                ("hparams",), f"`hparams` of {protocol} lacks {', '.join(missing)}; a recipe fixes them all."
            )


def complete_recipe(hparams: Mapping[str, HparamValue], protocols: list[str]) -> dict[str, HparamValue]:
    """The recipe with hyperparameters that were added after it was written, at their former fixed values."""
    later = {name: value for protocol in protocols for name, value in PROTOCOLS[protocol].added_later.items()}
    return {**later, **hparams}


def resolve_preset(
    name: str,
    hparams: Mapping[str, HparamValue] | None,
    num_trials: int | None,
    protocols: list[str],
    report: Report,
) -> dict[str, HparamValue]:
    """The hyperparameters that a preset fixes; empty if there is a problem, which is reported."""
    location = ("preset",)
    if hparams is not None:
        report(location, "`preset` and `hparams` both fix the hyperparameters; keep one.")
    if num_trials is not None:
        report(("search", "num_trials"), "`preset` fixes the hyperparameters, so there is nothing to search.")
    if len(protocols) > 1:
        report(
            location,
            f"a preset fixes the hyperparameters of one protocol, and the tasks have {', '.join(protocols)}; "
            "write one spec for each.",
        )
    for protocol in protocols:
        presets = PROTOCOLS[protocol].presets
        if name in presets:
            return dict(presets[name])
        hint = suggest(name, presets) or "."
        report(location, f"{protocol} has no preset {name!r}{hint} It has {', '.join(presets) or 'none'}.")
    return {}


def _beyond(limits: tuple[float, float] | None, value: HparamValue) -> str | None:
    """What is wrong with a number outside the limits of its row; None if nothing is."""
    if limits is None or isinstance(value, str | bool):
        return None
    low, high = limits
    if not low <= value <= high:
        return f"must lie between {low:g} and {high:g}"
    is_whole = isinstance(low, int) and isinstance(high, int)
    return "must be a whole number" if is_whole and not float(value).is_integer() else None


def _misfit(dimension: Dimension, value: HparamValue, on_request: tuple[HparamValue, ...] = ()) -> str | None:
    if isinstance(dimension, Choice):
        is_bool = isinstance(value, bool)  # 1 and True are equal.
        options = (*dimension.options, *on_request)
        fits = any(value == option and is_bool == isinstance(option, bool) for option in options)
        return None if fits else f"must be one of {', '.join(map(str, options))}"
    if isinstance(value, str | bool):
        return "must be a number"
    return None
