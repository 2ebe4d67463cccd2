"""Backbones of a spec file → catalogue rows. All problems are collected, not only the first."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import (
    BACKBONES,
    architecture_of,
    checkpoints_of,
    expand,
    find_backbone,
    random_twin,
    split_random,
)
from raybench.core.errors import CheckpointError, DataError, UnknownNameError
from raybench.core.registry import suggest
from raybench.spec.document import Document, Location
from raybench.spec.schema import BackboneEntry

_FACTS = {"family", "method", "pretrain_data", "pretrain_images", "params_m", "licence", "citation"}
Report = Callable[[Location, str], None]
"""Callback for a problem: its location in the document, and a sentence."""


def resolve_backbones(
    entries: list[tuple[int, str | BackboneEntry]], document: Document, report: Report
) -> list[BackboneInfo]:
    """Catalogue rows of the spec's names, globs and groups, and the rows that it defines, in its order.

    Rows that globs or groups repeat are taken once; a name written twice is reported.
    """
    resolved: dict[str, BackboneInfo] = {}
    written: dict[str, int] = {}
    own = _own_rows(entries, document, report)
    twinned = {info.name: info for info in own.values()}
    for position, entry in entries:
        location: Location = ("backbones", position)
        if not isinstance(entry, str) and position not in own:
            continue  # It is reported.
        try:
            infos = _named(entry, twinned) if isinstance(entry, str) else [own[position]]
        except UnknownNameError as error:
            report(location, str(error))
            continue
        if not (isinstance(entry, str) and _is_pattern(entry)):
            name = infos[0].name
            if name in written:
                line = document.line(("backbones", written[name]))
                advice = "keep one" if isinstance(entry, str) else "give each checkpoint its own `name`"
                report(location, f"backbone {name!r} is already listed in line {line}; {advice}.")
            written.setdefault(name, position)
        for info in infos:
            resolved.setdefault(info.name, info)
    return list(resolved.values())


def _own_rows(
    entries: list[tuple[int, str | BackboneEntry]], document: Document, report: Report
) -> dict[int, BackboneInfo]:
    """Position → row, for the rows that the spec defines; without those of unknown architectures."""
    rows = {}
    for position, entry in entries:
        if isinstance(entry, str):
            continue
        location: Location = ("backbones", position)
        try:
            rows[position] = _own_row(entry, location, document, report)
        except (UnknownNameError, DataError) as error:
            report(location, str(error))
    return rows


def _is_pattern(entry: str) -> bool:
    return entry.startswith("@") or any(sign in entry for sign in "*?[")


def _named(entry: str, own: Mapping[str, BackboneInfo]) -> list[BackboneInfo]:
    """Rows of a name, glob or group, or the random twin of one of the spec's `own` rows.

    Raises:
        UnknownNameError: with a suggestion.
    """
    base, seed = split_random(entry)
    if seed is not None and base in own and entry not in BACKBONES:
        return [random_twin(own[base], entry, seed)]
    return [_one(name) for name in expand(entry)]


def _one(name: str) -> BackboneInfo:
    """The catalogue's row, a random twin, or a row made of timm's own name."""
    try:
        return find_backbone(name)
    except UnknownNameError:
        base, seed = split_random(name)
        if seed is not None:
            if _is_timm(base):
                return _described(random_twin(BackboneInfo.of_timm(base), name, seed))
            raise _unknown(base) from None
        if "." not in name:
            tags = checkpoints_of(name) or _timm_tags(name)
            if tags or _is_timm(name):
                raise UnknownNameError(_ambiguous(name, tags)) from None
        if _is_timm(name):
            return _described(BackboneInfo.of_timm(name))
        raise _unknown(name) from None


def _unknown(name: str) -> UnknownNameError:
    """The error: timm's present name, else the nearest of the same architecture, else of all names."""
    if (successor := _timm_successor(name)) is not None:
        return UnknownNameError(f"timm has renamed {name!r}; write {successor!r}.")
    architecture = architecture_of(name)
    siblings = [*checkpoints_of(architecture), *_timm_tags(architecture)]
    near = suggest(name, siblings) or suggest(name, [*BACKBONES, *_timm_names()])
    near = near or "; timm does not know it either."
    listing = f"`raybench list backbones` prints all {len(BACKBONES)} rows."
    return UnknownNameError(f"unknown backbone {name!r}{near} {listing}{BACKBONES.failure_notes}")


def _ambiguous(name: str, tags: list[str]) -> str:
    """Message for an architecture without a tag: it does not identify the weights."""
    choice = f"write one of {', '.join(tags[:4])}" if tags else "add timm's tag of the weights"
    return (
        f"backbone {name!r} is an architecture, not a checkpoint; {choice}, "
        f"or {name + '.random'!r} for random weights."
    )


def _is_timm(name: str) -> bool:
    """Whether timm has the model. Called only for names without a row, because it imports timm (seconds)."""
    from raybench.backbones.names import is_timm_name

    return is_timm_name(name)


def _timm_tags(architecture: str) -> list[str]:
    """Names of timm's checkpoints of an architecture."""
    return [name for name in _timm_names() if name.startswith(architecture + ".")]


def _timm_names() -> list[str]:
    from raybench.backbones.names import timm_names

    return timm_names()


def _timm_successor(name: str) -> str | None:
    from raybench.backbones.names import successor_of

    return successor_of(name)


def _own_row(entry: BackboneEntry, location: Location, document: Document, report: Report) -> BackboneInfo:
    """A row that the spec defines: a checkpoint file, or a timm model with other settings."""
    architecture = architecture_of(entry.timm)
    if not (entry.timm in BACKBONES or checkpoints_of(architecture) or _is_timm(entry.timm)):
        raise UnknownNameError(f"`timm` names no timm model: {entry.timm!r}{_near_timm(entry.timm) or '.'}")
    if entry.checkpoint is not None and entry.random is not None:
        report((*location, "random"), "`checkpoint` and `random` both say what the weights are; keep one.")
    if entry.checkpoint is None and entry.random is None and "." not in entry.timm:
        tags = checkpoints_of(architecture) or _timm_tags(architecture)
        raise UnknownNameError(_ambiguous(entry.timm, tags))
    if not _is_finite(entry.kwargs):
        report((*location, "kwargs"), f"numbers in `kwargs` must be finite, got {entry.kwargs!r:.60}.")
    checkpoint = document.resolve(entry.checkpoint) if entry.checkpoint else None
    if checkpoint is not None and not checkpoint.is_file():
        report((*location, "checkpoint"), _no_checkpoint(checkpoint))
    name = entry.name or _own_name(entry, checkpoint)
    if name in BACKBONES:
        report(location, f"backbone name {name!r} is the catalogue's own; give this one another `name`.")
    properties: dict[str, Any] = entry.model_dump(include=_FACTS, exclude_unset=True)
    if checkpoints_of(architecture) and not entry.kwargs:  # Keyword arguments may change the size.
        sibling = BACKBONES[checkpoints_of(architecture)[0]]
        properties = {"family": sibling.family, "params_m": sibling.params_m, **properties}
    preprocessing = entry.preprocessing.model_dump(exclude_none=True)
    info = BackboneInfo(
        name=name,
        timm=entry.timm,
        kwargs=entry.kwargs,
        weights="timm" if checkpoint is None else "file",
        checkpoint=None if checkpoint is None else str(checkpoint.resolve()),
        preprocessing=preprocessing,
        input_size=preprocessing.get("input_size"),
        **properties,
    )
    if entry.random is not None:
        info = random_twin(info, name, entry.random)
    try:
        return _described(info)
    except CheckpointError:
        return info  # `load_backbone` says why timm cannot build it.


def _is_finite(value: Any) -> bool:
    """Whether no number in nested mappings and lists is NaN or infinite."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _described(info: BackboneInfo) -> BackboneInfo:
    """The row with family and size, read off the network where they are not stated.

    Raises:
        CheckpointError: if timm cannot build the network.
    """
    if info.family != "unknown" and info.params_m is not None:
        return info
    from raybench.backbones.architecture import architecture_of_timm  # Deferred: imports torch and timm.

    architecture = architecture_of_timm(info)
    family = architecture.family if info.family == "unknown" else info.family
    return replace(info, family=family, params_m=info.params_m or architecture.params_m)


def _own_name(entry: BackboneEntry, checkpoint: Path | None) -> str:
    """`resnet18` with `runs/best.safetensors` → `resnet18.best`: the file is the tag."""
    return entry.timm if checkpoint is None else f"{architecture_of(entry.timm)}.{checkpoint.stem}"


def _no_checkpoint(checkpoint: Path) -> str:
    folder = checkpoint.parent
    if not folder.is_dir():
        return f"checkpoint {str(checkpoint)!r}: there is no folder {str(folder)!r}."
    near = suggest(checkpoint.name, sorted(file.name for file in folder.iterdir()))
    return f"checkpoint {str(checkpoint)!r}: no such file{near or '.'}"


def _near_timm(name: str) -> str:
    if (successor := _timm_successor(name)) is not None:
        return f"; timm has renamed it {successor!r}."
    known = {architecture_of(name) for name in _timm_names()}
    return suggest(name, sorted(known | set(_timm_names())))
