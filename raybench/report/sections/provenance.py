"""Where do the results come from, and how can they be reproduced?"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from raybench.report.gather.report_data import ReportData
from raybench.report.render.parts import Code, Part, Table, Text

NOT_RECORDED = "not recorded"


def provenance(report_data: ReportData) -> Sequence[Part]:
    """Sources, devices, versions, commands, specs, and the origin of every measurement."""
    sources = ", ".join(report_data.results.names)
    if not report_data.provenance:
        return [Text(f"Source: {sources}."), Text(f"Command: {report_data.commands[-1]}")]
    frame = pl.DataFrame([_origin(row) for row in report_data.provenance], infer_schema_length=None)
    devices, seeds = (", ".join(map(str, frame[name].unique().sort())) for name in ("device", "seed"))
    versions = sorted(
        {f"{n} {v}" for row in report_data.provenance for n, v in (row.get("versions") or {}).items()}
    )
    return [
        *_conflicts(report_data),
        Text(f"Sources: {sources}. Devices: {devices}. Seeds: {seeds}."),
        Text(f"Versions: {', '.join(versions) or NOT_RECORDED}."),
        Code("Commands", "\n".join(report_data.commands)),
        *[
            Code(f"Spec of {spec.get('name', 'experiment')}", json.dumps(spec, indent=1, ensure_ascii=False))
            for spec in report_data.specs
        ],
        Table(frame, "Origin of every measurement", "provenance", is_folded=True),
    ]


def _conflicts(report_data: ReportData) -> list[Part]:
    """Measurements on which the sources differ."""
    conflicts = report_data.results.conflicts
    if conflicts.is_empty():
        return []
    num = conflicts.filter("is_kept").height
    return [
        Text(
            f"The sources differ in {num} measurement{'s' if num != 1 else ''}; the value of the preferred "
            "source was taken, nothing was averaged."
        ),
        Table(conflicts, "Where sources differ", "conflicts", is_folded=True),
    ]


def _origin(row: Mapping[str, Any]) -> dict[str, Any]:
    recorded = ("checkpoint_digest", "dataset_fingerprint", "device")
    return {
        **{name: row.get(name) for name in ("experiment", "backbone", "task", "seed")},
        **{name: str(row.get(name) or NOT_RECORDED) for name in recorded},
        "input_size": (row.get("preprocessing") or {}).get("input_size"),
    }
