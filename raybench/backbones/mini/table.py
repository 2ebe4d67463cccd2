"""Write the table of README.md from the sidecars, or check it: `python -m raybench.backbones.mini.table`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raybench.backbones.mini.files import read_sidecar
from raybench.catalog.mini import MINI

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
HEADER = (
    "| backbone | images | epochs | time "
    "| CIFAR-10 probe | twin | margin (95 %) | digits, 10 shots | twin | margin (95 %) |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
)


def table() -> str:
    """Markdown table with one row per file, in catalogue order; accuracies in percent."""
    rows = [_row(read_sidecar(info.name)) for info in MINI if info.weights == "file"]
    return "\n".join([*HEADER, *rows]) + "\n"


def _row(sidecar: dict[str, Any]) -> str:
    minutes = f"{sidecar['seconds'] / 60:.0f} min"
    columns = [f"`{sidecar['name']}`", f"{sidecar['train_images']:,}", str(sidecar["epochs"]), minutes]
    for measured in (sidecar["linear_probe_cifar10"], sidecar["few_shot_digits"]):
        low, high = (100 * bound for bound in measured["margin_95"])
        columns += [f"{100 * measured['accuracy']:.1f}", f"{100 * measured['random_twin']:.1f}"]
        columns.append(f"{100 * measured['margin']:+.1f} ({low:+.1f} to {high:+.1f})")
    return "| " + " | ".join(columns) + " |"


def with_table(readme: str) -> str:
    """README text with the current table between the markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table() + END + tail


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 if `--check` finds the README out of date."""
    parser = argparse.ArgumentParser(prog="python -m raybench.backbones.mini.table", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    old = README.read_text(encoding="utf-8")
    new = with_table(old)
    if not options.check:
        README.write_text(new, encoding="utf-8")
    elif new != old:
        sys.stderr.write(f"{README} differs from the sidecars; run without --check.\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
