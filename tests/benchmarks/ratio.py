"""One row of the table: a cost divided by another cost, and whether both gave the same result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """What was compared, what came out, and whether the comparison counts."""

    name: str
    ours: str
    theirs: str
    target: float
    """The ratio is to be at most this."""
    measured: float
    gate: str
    """What both sides have in common, in words and numbers."""
    is_gate_passed: bool
    note: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Medians and single measurements behind the ratio; unit in the name."""

    @property
    def verdict(self) -> str:
        if not self.is_gate_passed:
            return "VOID"
        return "reached" if self.measured <= self.target else "NOT REACHED"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def shown(ratio: float) -> str:
    """A ratio as people say it.

    >>> shown(0.0123), shown(1.0456), shown(13.2)
    ('0.0123', '1.05', '13.2')
    """
    return f"{ratio:.3g}"


def markdown(ratios: list[Ratio]) -> str:
    """The table, with the notes below it."""
    heading = "| row | raybench | opponent | target | measured | verdict | same result |"
    lines = [heading, "|---|---|---|---|---|---|---|"]
    for r in ratios:
        cells = (r.name, r.ours, r.theirs, f"≤ {shown(r.target)}", shown(r.measured), r.verdict, r.gate)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- **{r.name}**: {r.note}" for r in ratios if r.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])
