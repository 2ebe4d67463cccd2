from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import PROTOCOLS
from raybench.evaluation.registry import EVALUATOR_RUNS, PROTOCOL_RUNS


def test_every_protocol_of_the_catalogue_can_be_run():
    assert set(PROTOCOL_RUNS) == set(PROTOCOLS)


def test_every_evaluator_of_the_catalogue_can_be_run():
    assert set(EVALUATOR_RUNS) == set(EVALUATORS)
