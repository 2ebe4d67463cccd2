"""What does fine-tuning add to a linear probe?"""

from collections.abc import Sequence

from raybench.analysis.correlation import compare_protocols, gain_by_family
from raybench.metrics import METRICS
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Figure, Part, Table, Text
from raybench.report.sections.chart_selection import first_panels


def finetuning_gain(report_data: ReportData) -> Sequence[Part]:
    """Linear probe against fine-tuning, where both were run on one dataset."""
    compared = compare_protocols(report_data.scores)
    families = gain_by_family(compared, report_data.backbone_info)
    names = compared["dataset"].unique().sort().to_list()
    datasets = ", ".join(names)
    metric = METRICS[report_data.ranking.tasks[f"finetune@{names[0]}"]]
    scale, digits, unit = (100, ".1f", "points") if metric.bounds == (0.0, 1.0) else (1, ".3f", metric.name)
    sign = -1 if metric.direction == "min" else 1  # A positive gain is better; show how the metric changes.
    gains = "; ".join(
        f"{family} {sign * scale * gain:+{digits}} {unit} and {moved:+.1f} ranks over {num} pairs"
        for family, gain, moved, num in families.iter_rows()
    )
    shown, panels_note = first_panels(compared, "dataset")
    drawing = charts.agreement(
        shown,
        x="one",
        y="other",
        titles=("linear probe", "fine-tuned"),
        colour="backbone" if compared["backbone"].n_unique() <= charts.MAX_LINES else None,
        facet="dataset",
    )
    return [
        Text(
            f"On {datasets} backbones were both probed and fine-tuned. What fine-tuning adds, by family, in "
            f"{metric.name} and in rank: {gains}."
        ),
        Figure(
            drawing,
            f"{metric.name} fine-tuned over {metric.name} of a linear probe, on {datasets}.",
            f"{'Below' if sign < 0 else 'Above'} the dashed line fine-tuning is better than a linear probe."
            f"{panels_note}",
        ),
        Table(
            compared.rename({"one": "linear_probe", "other": "finetune"}),
            "Linear probe and fine-tuning",
            "protocols_compared",
        ),
        Table(families, "Gain from fine-tuning by family", "gain_by_family", is_folded=True),
    ]
