"""One row of the table: the ratio of two costs, and whether both sides gave the same result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A measured ratio, its target, and whether the results agree."""

    name: str
    ours: str
    theirs: str
    target: float
    """Largest acceptable ratio."""
    measured: float
    gate: str
    """How far the results of both sides agree; without agreement the ratio is void."""
    is_gate_passed: bool
    note: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Medians and single measurements; unit in the name."""

    @property
    def verdict(self) -> str:
        if not self.is_gate_passed:
            return "VOID"
        return "reached" if self.measured <= self.target else "NOT REACHED"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def formatted(ratio: float) -> str:
    """A ratio with three significant digits.

    >>> formatted(0.0123), formatted(1.0456), formatted(13.2)
    ('0.0123', '1.05', '13.2')
    """
    return f"{ratio:.3g}"


def markdown(ratios: list[Ratio]) -> str:
    """The table, with notes below."""
    heading = "| row | raybench | compared with | target | measured | verdict | same result |"
    lines = [heading, "|---|---|---|---|---|---|---|"]
    for r in ratios:
        cells = (
            r.name,
            r.ours,
            r.theirs,
            f"≤ {formatted(r.target)}",
            formatted(r.measured),
            r.verdict,
            r.gate,
        )
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- **{r.name}**: {r.note}" for r in ratios if r.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])
