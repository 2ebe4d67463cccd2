"""Whether all backbones of a ranking were searched alike, from the stored specs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def unequal_searches(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence per difference in search space or number of trials between backbones of one protocol."""
    return [*_unequal_spaces(specs), *_unequal_trials(specs), *_converged(specs)]


def _converged(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"Searches of {spec.get('name')} ended once they had converged (no more than {rule['tolerance']:g} "
        f"gained in {rule['trials']} trials), so backbones may have had different numbers of trials."
        for spec in specs
        if (rule := (spec.get("search") or {}).get("converged"))
    ]


def _unequal_spaces(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    sentences = []
    for spec in specs:
        everyone = {row["name"] for row in spec.get("backbones", ())}
        for entry in spec.get("spaces", ()):
            named = entry.get("backbones")
            if named is not None and set(named) != everyone:
                sentences.append(
                    f"Not every backbone was searched over the same space: {', '.join(named)} had another "
                    f"{', '.join(entry['space'])} in {entry['protocol']} (experiment {spec.get('name')})."
                )
    return list(dict.fromkeys(sentences))


def _unequal_trials(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    by_protocol: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for spec in specs:
        trials = 0 if spec.get("hparams") is not None else spec.get("search", {}).get("num_trials")
        for protocol in {task.partition("@")[0] for task in spec.get("tasks", ())} if trials else ():
            by_protocol[protocol][trials].append(str(spec.get("name")))
    return [
        f"Not every backbone was searched equally long in {protocol}: "
        + ", ".join(f"{num} trials in {' and '.join(names)}" for num, names in sorted(numbers.items()))
        + "."
        for protocol, numbers in sorted(by_protocol.items())
        if len(numbers) > 1
    ]
