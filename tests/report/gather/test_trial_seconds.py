"""Wall-clock seconds of trials per pair."""

from dataclasses import replace

from raybench.report.gather.trial_seconds import trial_seconds
from raybench.store import ledger
from tests.report.results_on_disk import fill


def test_seconds_are_summed_per_pair_and_stage_failures_included(tmp_path):
    fill(tmp_path, tasks=("knn@digits",), backbones=("good",))
    records = ledger.read_records(tmp_path, "e")
    timed = [
        replace(
            r,
            wall_seconds=2.0,
            status="failed" if r.stage == "search" else "completed",
            provenance={"device": "Abacus"} if r.stage == "final" else {},
        )
        for r in records
    ]
    features = replace(timed[0], stage="features", wall_seconds=7.0)
    spent = trial_seconds([*timed, features]).to_dicts()
    assert spent[0] | {"num_search": 1, "search_seconds": 7.0} == spent[0]
    assert spent[0]["task"] == "features (knn@digits)"
    assert spent[1] == {
        "backbone": "good",
        "task": "knn@digits",
        "num_search": 3,
        "search_seconds": 6.0,
        "num_final": 2,
        "final_seconds": 4.0,
        "device": "Abacus",
    }


def test_no_records_give_no_rows():
    assert trial_seconds([]).is_empty()
