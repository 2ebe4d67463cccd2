"""Changes of a protocol's search space or packed grid, as a spec's `spaces` state them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raybench.catalog.search_spaces import Choice, Dimension, Float, Grid, Int, SearchSpace, When
from raybench.catalog.tasks import ProtocolInfo
from raybench.core.records import HparamValue

Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionChange:
    """What one hyperparameter is searched over: `values`, or from `low` to `high`."""

    values: Sequence[HparamValue] | None = None
    low: Number | None = None
    high: Number | None = None
    log: bool | None = None
    num: int | None = None
    """Number of values from `low` to `high`, in a packed grid."""
    default: HparamValue | None = None
    """Value in search trial 0: by default the protocol's, or the nearest one in the range."""
    when: When = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceChange:
    """Changed hyperparameters of a protocol, for some backbones or, with None, for every one."""

    protocol: str
    backbones: Sequence[str] | None = None
    space: Mapping[str, DimensionChange]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "SpaceChange":
        """An item of `spaces` of a stored spec."""
        space = {name: DimensionChange(**change) for name, change in stored["space"].items()}
        return cls(protocol=stored["protocol"], backbones=stored.get("backbones"), space=space)

    def applies_to(self, protocol: str, backbone: str) -> bool:
        return self.protocol == protocol and (self.backbones is None or backbone in self.backbones)


def changed_space(
    space: SearchSpace, info: ProtocolInfo, changes: Iterable[SpaceChange], max_epochs: int
) -> SearchSpace:
    """The protocol's space with the dimensions that they change, in their order.

    Raises:
        ValueError: if a change does not fit the protocol.
    """
    changed = dict(space)
    for change in changes:
        for name, dimension in change.space.items():
            if name not in info.packed_values:
                base = changed.get(name) or info.optional.get(name)
                if base is None:
                    raise ValueError(f"{info.name} has no hyperparameter {name!r}")
                changed[name] = _dimension(name, dimension, base, info, max_epochs)
    return changed


def changed_grid(info: ProtocolInfo, changes: Iterable[SpaceChange]) -> Grid:
    """Packed hyperparameters that they change → their values, numbers in ascending order.

    Raises:
        ValueError: if a change does not fit the protocol.
    """
    return {
        name: _packed_values(name, dimension, info)
        for change in changes
        for name, dimension in change.space.items()
        if name in info.packed_values
    }


def _dimension(
    name: str, change: DimensionChange, base: Dimension, info: ProtocolInfo, max_epochs: int
) -> Dimension:
    if change.num is not None:
        raise ValueError("takes no `num`: its range is sampled; leave `num` out.")
    if change.values is not None:
        if change.low is not None or change.high is not None:
            raise ValueError("has both `values` and a range; keep one.")
        options = tuple(dict.fromkeys(change.values))
        for value in options:
            _check_value(name, value, base, info, max_epochs)
        default = base.default if base.default in options else options[0]
        if change.default is not None:
            default = change.default
        if default not in options:
            raise ValueError(f"has the default {default!r}, which is not among its values.")
        return Choice(options=options, default=default, when=change.when)
    return _range(name, change, base, info, max_epochs)


def _range(
    name: str, change: DimensionChange, base: Dimension, info: ProtocolInfo, max_epochs: int
) -> Float | Int:
    kinds = base.options if isinstance(base, Choice) else (base.default,)
    if any(isinstance(value, str | bool) for value in kinds):
        raise ValueError(f"takes values, not a range: {', '.join(map(str, kinds))}.")
    low, high = _ends(change)
    is_whole = all(isinstance(value, int) for value in kinds) and not isinstance(base, Float)
    for value in (low, high):
        _check_value(name, value, base, info, max_epochs)
    log = change.log if change.log is not None else getattr(base, "log", False)
    if log and low <= 0:
        raise ValueError(f"is searched on a log scale, so `low` must be more than 0, got {low!r}.")
    default = min(max(base.default, low), high) if change.default is None else change.default
    if isinstance(default, str | bool) or not low <= default <= high:
        raise ValueError(f"has the default {default!r}, which is not in its range.")
    if is_whole:
        if not all(float(value).is_integer() for value in (low, high, default)):
            raise ValueError(f"takes whole numbers, got {low!r} to {high!r}.")
        return Int(low=int(low), high=int(high), log=log, default=int(default), when=change.when)
    return Float(low=float(low), high=float(high), log=log, default=float(default), when=change.when)


def _ends(change: DimensionChange) -> tuple[Number, Number]:
    if change.low is None or change.high is None:
        raise ValueError("needs `low` and `high`, or `values`.")
    if not change.low < change.high:
        raise ValueError(
            f"needs `low` below `high`, got {change.low!r} and {change.high!r}; for one value write it alone."
        )
    return change.low, change.high


def _packed_values(name: str, change: DimensionChange, info: ProtocolInfo) -> tuple[HparamValue, ...]:
    """Values of a packed hyperparameter: numbers in ascending order, then text."""
    base = info.packed_values[name]
    if change.default is not None or change.when:
        raise ValueError("is tried with all of its values in every trial: it takes no `default` or `when`.")
    for value in change.values or ():
        _check_value(name, value, Choice(options=base, default=base[0]), info)
    if change.values is not None:
        numbers = sorted({value for value in change.values if not isinstance(value, str)})
        return (*numbers, *dict.fromkeys(value for value in change.values if isinstance(value, str)))
    low, high = _ends(change)
    for end in (low, high):
        _check_value(name, end, Choice(options=base, default=base[0]), info)
    is_log = low > 0 if change.log is None else change.log
    if is_log and low <= 0:
        raise ValueError(f"is spaced on a log scale, so `low` must be more than 0, got {low!r}.")
    num = change.num or sum(not isinstance(value, str) for value in base)
    steps = [step / (num - 1) for step in range(num)]
    spaced = [low * (high / low) ** step if is_log else low + step * (high - low) for step in steps]
    if all(isinstance(value, int) for value in base):
        return tuple(dict.fromkeys(round(value) for value in spaced))
    return tuple(dict.fromkeys(float(f"{value:.4g}") for value in spaced))


def _check_value(
    name: str, value: HparamValue, base: Dimension, info: ProtocolInfo, max_epochs: int | None = None
) -> None:
    """Raise ValueError for a value that the protocol cannot use."""
    options = base.options if isinstance(base, Choice) else ()
    row = info.space.get(name) or info.optional.get(name)
    listed = row.options if isinstance(row, Choice) else info.packed_values.get(name, ())
    known = (*options, *listed, *info.on_request.get(name, ()))
    if any(value == other and type(value) is type(other) for other in known):
        return
    limits = info.limits.get(name)
    if isinstance(value, str | bool) or (limits is None and isinstance(row, Choice)):
        wanted = ", ".join(map(str, dict.fromkeys(known))) or "a number"
        raise ValueError(f"must be {wanted if len(known) < 2 else f'one of {wanted}'}, got {value!r}.")
    numbers = [other for other in known if not isinstance(other, str | bool)]
    is_whole = isinstance(row, Int) or (bool(numbers) and all(isinstance(n, int) for n in numbers))
    if is_whole and not float(value).is_integer():
        raise ValueError(f"takes whole numbers, got {value!r}.")
    low, high = limits or (float("-inf"), float("inf"))
    if name == "epochs" and max_epochs is not None:
        high = max_epochs
    if not low <= value <= high:
        raise ValueError(f"must lie in [{low:g}, {high:g}], got {value!r}.")
