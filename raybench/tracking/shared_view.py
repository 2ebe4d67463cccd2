"""The first table of runs that MLflow's UI shows, and the URL that opens it.

By default MLflow 3.17 opens an experiment in its view for language models, and its table of runs shows no
metric and mixes trials with pairs. A "shared view", stored in a tag of the experiment, overrides that.
"""

import json
from collections.abc import Sequence

from raybench.catalog.tasks import parse_task, protocol_of
from raybench.metrics import METRICS
from raybench.tracking.address import is_server, without_credentials

VIEW = "ranking"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
WORKFLOW = "workflowType=machine_learning"


def shared_view(tasks: Sequence[str]) -> str:
    """Value of `VIEW_TAG`: one row per pair, best first by the first task's objective on test.

    Args:
        tasks: `protocol@dataset` names, at least one.
    """
    objectives = list(dict.fromkeys(protocol_of(parse_task(task)).objective for task in tasks))
    columns = [column for name in objectives for column in (f"test/{name}", f"std/test/{name}")]
    return json.dumps(
        {
            "searchFilter": "tags.`raybench.kind` = 'pair'",
            "orderByKey": f"metrics.`test/{objectives[0]}`",
            "orderByAsc": METRICS[objectives[0]].direction == "min",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": [f"metrics.`{name}`" for name in [*columns, "num_failed", "wall_seconds"]],
        }
    )


def table_address(uri: str, experiment_id: str) -> str:
    """URL of that table in a browser; empty for a database, which has none.

    >>> table_address("http://me:secret@mlflow:5000/", "7")
    'http://mlflow:5000/#/experiments/7/runs?viewStateShareKey=ranking&workflowType=machine_learning'
    """
    if not is_server(uri):
        return ""
    server = without_credentials(uri).rstrip("/")
    return f"{server}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&{WORKFLOW}"
