"""The table of runs that a person should see first in MLflow's UI, and the address that opens it.

MLflow 3.17 opens every experiment as one of language models unless the address says otherwise, and its table
of runs shows no metric and mixes trials with pairs. A "shared view", kept in a tag of the experiment,
says what the table holds.
"""

import json
from collections.abc import Sequence

from raybench.catalog.tasks import parse_task
from raybench.metrics import METRICS
from raybench.tracking.address import is_server, without_credentials

VIEW = "ranking"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
WORKFLOW = "workflowType=machine_learning"


def shared_view(tasks: Sequence[str]) -> str:
    """The value of `VIEW_TAG`: one row per pair, the best first by the first task's objective on test.

    Args:
        tasks: `protocol@dataset` names, at least one.
    """
    objectives = list(dict.fromkeys(parse_task(task).protocol.objective for task in tasks))
    shown = [column for name in objectives for column in (f"test/{name}", f"std/test/{name}")]
    return json.dumps(
        {
            "searchFilter": "tags.`raybench.kind` = 'pair'",
            "orderByKey": f"metrics.`test/{objectives[0]}`",
            "orderByAsc": METRICS[objectives[0]].direction == "min",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": [f"metrics.`{name}`" for name in [*shown, "num_failed", "wall_seconds"]],
        }
    )


def table_address(uri: str, experiment_id: str) -> str:
    """Where a browser shows that table; empty for a database, which has no address.

    >>> table_address("http://me:secret@mlflow:5000/", "7")
    'http://mlflow:5000/#/experiments/7/runs?viewStateShareKey=ranking&workflowType=machine_learning'
    """
    if not is_server(uri):
        return ""
    place = without_credentials(uri).rstrip("/")
    return f"{place}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&{WORKFLOW}"
