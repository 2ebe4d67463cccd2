"""Analysis of measurement tables: functions from Polars frames to frames, without any I/O.

A table of *scores* has one row per backbone and task: backbone, task, direction ("min" or "max"), value. A
*aggregate ranking* has one row per backbone, best first.

| question | function |
|---|---|
| Which measurements become scores? | `scores.select_scores`, `require_complete`, `missing_pairs` |
| Which backbone is best by the paper's rule? | `zscores.zscore_within_task`, `rank_within_task`, `overall` |
| … with other choices where the paper leaves them open? | `aggregate_ranking.aggregate_ranking` |
| Which is best below a size? | `aggregate_ranking.rank_within_size` |
| Does the ranking depend on the open choices? | `aggregate_ranking.compare_rules` |
| How certain is it? | `bootstrap.replicate`, then `intervals.score_intervals`, `ranking_intervals`, … |
| Is it the same without z-scores? | `alternatives.alternative_rankings`, `ranking_agreement` |
| Do backbones differ significantly? | `alternatives.friedman`, `indistinct_groups` |
| Does it depend on single tasks? | `stability.leave_one_task_out`, `rank_ranges`, `predictive_tasks` |
| Which tasks correlate? | `correlation.task_correlations` (also between categories) |
| Does it correlate with size and pretraining data? | `correlation.score_correlations`, `apples_to_apples` |
| Linear probe or fine-tuning? | `correlation.compare_protocols`, `gain_by_family` |
| Was the search budget sufficient? | `tuning_curves.best_of_k`, `budget_sufficiency`, `scores_at_budget` |
| What did tuning gain? | `tuning_curves.gain_over_defaults` |
| What does a score cost? | `cost.pareto_front`, `recommend` |
| Which backbones are more robust than their accuracy predicts? | `robustness.effective_robustness` |
| How does a published table rank them? | `published_comparison.shared_ranking`, `shared_values` |
| How are tables of several labs merged? | `merge.merge`, `require_no_conflict` |

Published tables are scores too: `pl.DataFrame(raybench.catalog.published.published("bob").scores)`.
`scores`, `zscores` and `aggregate_ranking` import neither numpy nor scipy before they need them.
"""
