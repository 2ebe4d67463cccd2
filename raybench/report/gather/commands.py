"""The command that reproduces a report, which the page shows."""

import shlex

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.sources import PREFIX, Results


def report_command(results: Results, criterion: Criterion, rule: RankingRule) -> str:
    """`raybench report …` with the sources and every choice that is not the default.

    >>> from raybench.report.gather.sources import read_results
    >>> results = read_results(["published:bob"])
    >>> report_command(results, Criterion(tasks=("*@cub200",)), RankingRule(deviation="population"))
    "raybench report published:bob --task '*@cub200' --deviation population -o report.html"
    """
    words = ["raybench", "report"]
    if results.published is not None:
        words.append(f"{PREFIX}{results.published.name}")
    else:
        served = dict.fromkeys(name.partition("#")[0] for name in results.names if "://" in name)
        words += [name for name in results.names if "://" not in name]
        for uri in served:
            words += ["--tracking-uri", uri]
        if len(results.experiments) == 1:
            words += ["--experiment", results.experiments[0]]
        words += [f"{PREFIX}{paper.name}" for paper in results.reference_tables]
        for name in results.prefer:
            words += ["--prefer", name]
    chosen = (
        ("metric", criterion.metric),
        ("category", criterion.category),
        ("condition", criterion.condition),
    )
    for option, value in chosen:
        words += [f"--{option}", value] if value is not None else []
    for task in criterion.tasks:
        words += ["--task", task]
    default = RankingRule()
    for name in ("deviation", "mean", "missing", "lower_is_better"):
        if getattr(rule, name) != getattr(default, name):
            words += [f"--{name}".replace("_", "-"), getattr(rule, name).replace("_", "-")]
    words += [] if rule.with_random_init else ["--without-random-init"]
    return shlex.join([*words, "-o", "report.html"])
