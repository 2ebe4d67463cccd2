"""The live table and the lines of a log, from studies in every state."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from raybench.catalog.search_spaces import FINETUNE
from raybench.core.records import Pair, Task, TrialRecord, metric_values
from raybench.experiment.progress import LiveProgress, PlainProgress, make_progress
from raybench.tuning.study import PairStudy, StudyPlan

PLAN = StudyPlan(
    experiment="e",
    space=FINETUNE,
    objective="accuracy",
    sampler="qmc",
    num_trials=2,
    search_seed=0,
    seeds=(0,),
    max_epochs=3,
    needs_features=False,
)


def study(backbone: str, **changes) -> PairStudy:
    return PairStudy(Pair(backbone=backbone, task=Task("finetune", "digits")), replace(PLAN, **changes))


def record_of(request, value: float = 0.5) -> TrialRecord:
    return replace(
        TrialRecord.of(request, "failed"),
        status="completed",
        values=metric_values({"val/accuracy": value}),
    )


def end_all(subject: PairStudy, record_for=record_of) -> PairStudy:
    while (request := subject.next_request()) is not None:
        subject.complete(request, record_for(request))
    return subject


def in_every_state(progress_type, **options):
    """(progress, study by state): one pair done, one failed, one running, one waiting."""
    studies = {state: study(state) for state in ("done", "failed", "running", "waiting")}
    end_all(studies["done"], lambda request: record_of(request, 0.91))
    end_all(
        studies["failed"], lambda request: TrialRecord.of(request, "failed", "DivergedError: loss is nan")
    )
    first, second = studies["running"].next_request(), studies["running"].next_request()
    progress = progress_type(list(studies.values()), **options)
    progress.trial_started(first)
    progress.trial_started(second)
    studies["running"].complete(first, record_of(first, 0.42))
    progress.trial_ended(first, studies["running"].records[first.trial_id])
    return progress, studies


def table_text(progress: LiveProgress) -> str:
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(progress._table())
    return console.export_text()


def row_of(text: str, backbone: str) -> list[str]:
    """Cells of the pair's line, task and backbone left out."""
    return next(line.split()[2:] for line in text.splitlines() if f" {backbone} " in line)


def test_the_summary_counts_pairs_by_state_and_trials():
    progress, _ = in_every_state(PlainProgress, stream=io.StringIO())
    assert progress.summary().startswith("4 pairs: 1 done, 1 running, 1 waiting, 1 failed; 6/12 trials; 0:")


def test_the_live_table_shows_every_state_with_the_best_so_far():
    progress, _ = in_every_state(LiveProgress, stream=io.StringIO())
    text = table_text(progress)
    assert row_of(text, "done") == ["done", "3/3", "91.0%"]
    assert row_of(text, "failed") == ["failed", "2/3"]
    assert row_of(text, "running") == ["running", "(search)", "1/3", "42.0%"]
    assert row_of(text, "waiting") == ["waiting", "0/3"]


def test_running_pairs_come_first_and_finished_ones_last():
    progress, _ = in_every_state(LiveProgress, stream=io.StringIO())
    lines = table_text(progress).splitlines()
    shown = [line.split()[1] for line in lines if line.startswith("finetune@digits")]
    assert shown == ["running", "failed", "waiting", "done"]


def test_a_table_higher_than_the_terminal_counts_the_rows_left_out():
    studies = [study(f"b{i}") for i in range(200)]
    lines = table_text(LiveProgress(studies, stream=io.StringIO())).splitlines()
    num_shown = sum(line.startswith("finetune@digits") for line in lines)
    assert 0 < num_shown < 200
    assert lines[-1].strip() == f"… and {200 - num_shown} more"


def test_the_live_table_stops_with_the_run():
    progress, _ = in_every_state(LiveProgress, stream=io.StringIO())
    with progress:
        assert progress._live.is_started
    assert not progress._live.is_started


def test_a_log_gets_one_line_per_finished_pair():
    stream = io.StringIO()
    progress, studies = in_every_state(PlainProgress, stream=stream)
    assert stream.getvalue() == ""
    progress.pair_finished(studies["done"].pair)
    progress.pair_finished(studies["failed"].pair)
    done, failed = stream.getvalue().splitlines()
    assert done.startswith("done    finetune@digits · done: best val accuracy 91.0% (4 pairs:")
    assert failed.startswith(
        "failed  finetune@digits · failed: all 2 search trials failed; the last: DivergedError: loss is nan"
    )


def test_a_log_gets_a_line_every_half_minute():
    stream = io.StringIO()
    progress, _ = in_every_state(PlainProgress, stream=stream)
    progress._last -= PlainProgress.INTERVAL_SECONDS
    progress.draw()
    progress.draw()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_recipe_has_no_search_and_shows_its_first_seeds_value():
    stream = io.StringIO()
    recipe = end_all(
        study("recipe", recipe={"lr": 0.001}, seeds=(4, 5)), lambda r: record_of(r, 0.1 * r.seed)
    )
    progress = PlainProgress([recipe], stream=stream)
    progress.pair_finished(recipe.pair)
    assert "best val accuracy 40.0%" in stream.getvalue()
    assert "2/2 trials" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "expected"), [(Terminal(), LiveProgress), (io.StringIO(), PlainProgress)])
def test_a_terminal_gets_the_live_table_and_a_file_gets_lines(stream, expected):
    assert type(make_progress([study("a")], stream)) is expected


@pytest.mark.parametrize("progress_type", [LiveProgress, PlainProgress])
def test_a_note_is_one_line_that_keeps_square_brackets(progress_type):
    stream = io.StringIO()
    sentence = "dataset 'a[b]': " + "3 images were left out, " * 10
    progress_type([study("a")], stream=stream).note(sentence)
    assert stream.getvalue().rstrip("\n") == f"note            {sentence}"
