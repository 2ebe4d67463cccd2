"""Tasks are `protocol@dataset`, and protocols are consistent with the tables they name."""

import pytest

from raybench.catalog.tasks import PROTOCOLS, parse_task
from raybench.core.errors import UnknownNameError
from raybench.metrics import METRICS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_objective_is_among_the_metrics_and_all_are_registered(protocol):
    info = PROTOCOLS[protocol]
    assert info.objective in info.metrics
    assert set(info.metrics) <= set(METRICS)


def test_a_task_splits_at_the_first_at_sign():
    task = parse_task("linear_probe@folder:/data/a@b")
    assert (task.protocol, task.dataset, str(task)) == (
        "linear_probe",
        "folder:/data/a@b",
        "linear_probe@folder:/data/a@b",
    )


@pytest.mark.parametrize("name", ["linear_probe", "@cifar10", "knn@", ""])
def test_a_task_of_another_form_is_refused(name):
    with pytest.raises(UnknownNameError, match="is not of the form 'protocol@dataset'"):
        parse_task(name)


def test_an_unknown_protocol_is_answered_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="unknown protocol 'linear_prob'; did you mean 'linear_probe'"):
        parse_task("linear_prob@cifar10")
