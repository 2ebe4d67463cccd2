"""`raybench run` and `raybench plan`: run an experiment, or print what a run would do."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from raybench.cli import exit_codes
from raybench.cli.options import Verbs, at_least_one, storage_option

if TYPE_CHECKING:
    from raybench.experiment.run import Outcome
    from raybench.store.files import StoragePath


def add(verbs: Verbs) -> None:
    """Add `run` and `plan` to the command line."""
    run = verbs.add_parser("run", help="run an experiment, or the rest of one that was interrupted")
    run.add_argument("spec", type=Path, help="experiment file, e.g. experiments/quickstart.yaml")
    storage_option(run)
    run.add_argument(
        "--tracking-uri", help="MLflow server (default: $MLFLOW_TRACKING_URI, else SQLite in the storage)"
    )
    run.add_argument("--num-cpus", type=at_least_one, help="CPUs of a local Ray (default: all)")
    run.add_argument(
        "--wait-for-resources",
        type=at_least_one,
        metavar="MINUTES",
        help="wait for nodes that the cluster does not have yet (default: 30 where Ray's autoscaler can add "
        "them, else not at all)",
    )
    run.set_defaults(command=_run)

    plan = verbs.add_parser("plan", help="print what an experiment would run, without starting anything")
    plan.add_argument("spec", type=Path)
    plan.set_defaults(command=_plan)


def _run(arguments: argparse.Namespace) -> int:
    from raybench.experiment.run import RunOptions, run_experiment
    from raybench.spec import load_spec, make_plan
    from raybench.store.files import open_storage

    spec = load_spec(arguments.spec)
    storage = open_storage(arguments.storage)
    print(make_plan(spec).render(), flush=True)
    minutes = arguments.wait_for_resources
    options = RunOptions(
        tracking_uri=arguments.tracking_uri,
        num_cpus=arguments.num_cpus,
        wait_seconds=None if minutes is None else 60.0 * minutes,
    )
    outcome = run_experiment(spec, storage, options)
    return _report(arguments.spec, storage, spec.name, outcome)


def _report(spec: Path, storage: "StoragePath", experiment: str, outcome: "Outcome") -> int:
    """Print the ranking, where results are, and how to resume; return the exit code."""
    from raybench.store import layout
    from raybench.store.files import local_folder

    if outcome.measured:
        from raybench.analysis.aggregate_ranking import RankingRule
        from raybench.report.gather.sources import read_results
        from raybench.report.render.terminal import rank_text

        results = read_results([storage], experiment=experiment)
        print(rank_text(results, rule=RankingRule(missing="mean_of_rest")))
    if outcome.num_trials_run == 0 and not outcome.is_interrupted:
        print("Nothing was left to run: every pair of this spec is already measured in this storage.")
    for note in outcome.notes:
        print(f"note      {note}")
    print(f"\nresults   {layout.measurements_dir(storage)}   (raybench rank {storage})")
    if outcome.tracking_uri.startswith("sqlite"):
        print(f"tracking  {layout.mlflow_database(local_folder(storage))}   (raybench ui {storage})")
    else:
        print(f"tracking  {outcome.tracking_address or outcome.tracking_uri}")
    recipes = layout.recipes_dir(storage, experiment)
    print(f"recipes   {recipes}   (raybench run RECIPE.yaml --storage …)")
    if outcome.unsent:
        print(
            f"{len(outcome.unsent)} trials have not reached the tracking server; nothing is lost: "
            f"`raybench track {storage}` sends them."
        )
    if outcome.is_interrupted:
        print(f"Interrupted. Nothing measured is lost; `raybench run {spec} --storage {storage}` resumes.")
        return exit_codes.TERMINATED if outcome.is_terminated else exit_codes.INTERRUPTED
    for pair, reason in outcome.failed.items():
        print(f"failed    {pair.task} · {pair.backbone}: {reason}", file=sys.stderr)
    return exit_codes.FAILED_PAIRS if outcome.failed else exit_codes.DONE


def _plan(arguments: argparse.Namespace) -> int:
    from raybench.experiment.dataset_check import describe_datasets
    from raybench.spec import load_spec, make_plan

    spec = load_spec(arguments.spec, needs_data=False)
    print(make_plan(spec).render(), flush=True)
    print(describe_datasets(spec))
    return exit_codes.DONE
