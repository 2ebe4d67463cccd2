"""Frames → frames, in Polars: what the measurements say, and how sure they are. No file or clock is read.

A table of *scores* has one row per backbone and task: backbone, task, direction ("min" or "max"), value. A
*aggregate ranking* has one row per backbone, best first.

| question | function |
|---|---|
| which measurements become scores? | `scores.select_scores`, `require_complete`, `missing_pairs` |
| who is best, as the paper ranks? | `zscores.zscore_within_task`, `rank_within_task`, `overall` |
| … with its open choices said? | `aggregate_ranking.aggregate_ranking(scores, RankingRule(…))` |
| who is best below a size? | `aggregate_ranking.rank_within_size` |
| does the ranking depend on them? | `aggregate_ranking.compare_rules` |
| how sure is it? | `bootstrap.replicate` → `score_intervals`, `ranking_intervals`, `win_probabilities` |
| and without z-scores? | `alternatives.alternative_rankings`, `ranking_agreement` |
| do backbones differ at all? | `alternatives.friedman`, `nemenyi`, `indistinct_groups` |
| does it lean on one task? | `stability.leave_one_task_out`, `rank_ranges`, `predictive_tasks` |
| which tasks go together? | `correlation.task_correlations` (also between categories) |
| do size and data explain it? | `correlation.score_correlations`, `apples_to_apples` |
| linear probe or fine-tuning? | `correlation.compare_protocols`, `gain_by_family` |
| was the search long enough? | `tuning_curves.best_of_k`, `budget_sufficiency`, `scores_at_budget` |
| what did tuning gain? | `tuning_curves.gain_over_defaults` |
| what does it cost? | `cost.pareto_front`, `recommend` |
| who is robust beyond its accuracy? | `robustness.effective_robustness` |
| how does a published table rank them? | `published_comparison.shared_ranking`, `shared_values` |
| how do several labs' tables unite? | `merge.merge`, `require_no_conflict` |

Published tables enter as scores: `pl.DataFrame(raybench.catalog.published.published("bob").scores)`.
`scores` and `zscores` load neither numpy nor scipy.
"""
