"""Ranking and report as files of MLflow's summary run."""

import html

from raybench.core.errors import RaybenchError, StorageUnavailableError
from raybench.store.files import StoragePath


def summary_files(storage: StoragePath, experiment: str) -> dict[str, str]:
    """File name → text. If the ranking or the report cannot be made, its file gives the reason."""
    from raybench.analysis.aggregate_ranking import RankingRule
    from raybench.report.document import report_html
    from raybench.report.gather.sources import read_results
    from raybench.report.render.terminal import rank_text

    rule = RankingRule(missing="mean_of_rest")
    try:
        results = read_results([storage], experiment=experiment)
        files = {
            f"ranking.{suffix}": rank_text(results, rule=rule, output_format=output_format)
            for suffix, output_format in (("md", "markdown"), ("csv", "csv"))
        }
    except StorageUnavailableError:
        raise
    except RaybenchError as error:
        return {"ranking.md": f"No ranking: {error}"}
    try:
        page = report_html(results, rule=rule)
    except RaybenchError as error:
        page = f"<p>No report: {html.escape(str(error))}</p>"
    return {**files, "report.html": page}
