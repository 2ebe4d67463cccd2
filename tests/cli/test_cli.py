"""The command line: what each command prints, and its exit codes.

Messages of the spec checker are tested in tests/spec, those of datasets in tests/data; here one of each kind
must reach standard error, with exit code 2 and before anything is started. Tests that need a running Ray
(impossible resources, unreachable tracking server, Ctrl-C) are in tests/end_to_end.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from raybench.catalog.listing import LISTINGS
from raybench.cli import main
from raybench.cli.maintenance_commands import LISTINGS as CHOICES
from raybench.core.errors import StorageError
from raybench.core.records import Measurement, Pair, Task
from raybench.experiment import run as running
from raybench.experiment.run import Outcome
from raybench.spec import load_spec
from raybench.store import ledger
from raybench.store.measurements import write_measurements

SPEC = """
name: small
backbones: [mini_resnet.random, mini_vit.random]
tasks: [knn@digits]
search: {num_trials: 2}
budget: smoke
"""
PAIRS = [
    Pair(backbone=name, task=Task("knn", "digits")) for name in ("mini_resnet.random", "mini_vit.random")
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(old, new)` writes SPEC with that replacement to a file."""

    def to_file(old: str = "", new: str = "") -> Path:
        assert old in SPEC
        path = tmp_path / "small.yaml"
        path.write_text(SPEC.replace(old, new) if old else SPEC)
        return path

    return to_file


@pytest.fixture
def measured(tmp_path: Path, write: Callable[..., Path]) -> Path:
    """A storage with one measurement per pair; the second backbone is the better one."""
    storage = tmp_path / "storage"
    ledger.save_spec(storage, "small", load_spec(write()).to_dict())
    for value, pair in zip((0.25, 0.75), PAIRS, strict=True):
        measurement = Measurement(
            experiment="small",
            backbone=pair.backbone,
            task=pair.task,
            split="test",
            metric="accuracy",
            value=value,
            num_examples=359,
            seed=0,
        )
        write_measurements(storage, "small", pair.backbone, [measurement], {})
    return storage


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mini_vit.random", "mini_vit.supervisd", "line 3: unknown backbone 'mini_vit.supervisd'"),
        ("knn@digits", "knnn@digits", "line 4: unknown protocol 'knnn'; did you mean 'knn'?"),
        ("knn@digits", "knn@digit", "line 4: unknown dataset 'digit'; did you mean 'digits'?"),
        ("knn@digits", "'knn@folder:nowhere'", "no such folder"),
        ("search:", "serach:", "line 5: unknown key 'serach'; did you mean 'search'?"),
        ("num_trials: 2", "num_trials: two", "line 5: `search.num_trials` must be a whole number, got 'two'"),
        ("num_trials: 2", "num_trials: 0", "line 5: `search.num_trials` must be at least 1, got 0."),
    ],
    ids=["backbone", "protocol", "dataset", "folder", "key", "type", "zero trials"],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_bad_spec_is_refused_before_anything_is_started(
    write, tmp_path, capsys, command, old, new, message
):
    storage = tmp_path / "storage"
    options = ["--storage", str(storage)] if command == "run" else []
    assert main([command, str(write(old, new)), *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert not storage.exists()


def test_a_missing_spec_is_reported(tmp_path, capsys):
    assert main(["plan", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml" in capsys.readouterr().err


def test_a_storage_that_cannot_be_written_is_reported(write, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["run", str(write()), "--storage", str(tmp_path / "file" / "storage")]) == 2
    assert "raybench: cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_num_cpus_must_be_a_positive_whole_number(write, capsys, number):
    with pytest.raises(SystemExit) as caught:
        main(["run", str(write()), f"--num-cpus={number}"])
    assert caught.value.code == 2
    assert f"must be a whole number of at least 1, got '{number}'" in capsys.readouterr().err


def outcome(**changes: object) -> Outcome:
    content = {"measured": PAIRS, "tracking_uri": "sqlite:///runs/mlflow.db", "num_trials_run": 6}
    return Outcome(**{**content, **changes})


@pytest.fixture
def run_with(write, measured, monkeypatch, capsys) -> Callable[[Outcome], tuple[int, str, str]]:
    """`run_with(outcome)` → (exit code, standard output, standard error) of a run with that outcome."""

    def call(ending: Outcome | BaseException) -> tuple[int, str, str]:
        def run_experiment(*args: object, **kwargs: object) -> Outcome:
            if isinstance(ending, BaseException):
                raise ending
            return ending

        monkeypatch.setattr(running, "run_experiment", run_experiment)
        code = main(["run", str(write()), "--storage", str(measured)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_a_run_that_measured_everything_exits_with_0_and_prints_where_results_are(run_with, measured):
    code, out, err = run_with(outcome())
    assert (code, err) == (0, "")
    assert out.index("mini_vit.random", out.index("z-score")) < out.rindex("mini_resnet.random")
    assert f"results   {measured}/measurements   (raybench rank {measured})" in out
    assert f"tracking  {measured}/mlflow.db   (raybench ui {measured})" in out
    assert "Nothing was left to run" not in out


def test_a_run_with_failed_pairs_exits_with_1_and_prints_each_reason(run_with):
    code, _, err = run_with(outcome(measured=PAIRS[:1], failed={PAIRS[1]: "DataError: class 'b' is empty"}))
    assert code == 1
    assert err == "failed    knn@digits · mini_vit.random: DataError: class 'b' is empty\n"


def test_a_run_with_nothing_left_to_do_says_so(run_with):
    code, out, _ = run_with(outcome(num_trials_run=0))
    assert code == 0
    assert "Nothing was left to run: every pair of this spec is already measured" in out


def test_an_interrupted_run_exits_with_130_and_prints_how_to_resume(run_with, measured):
    code, out, _ = run_with(outcome(is_interrupted=True))
    assert code == 130
    assert f"small.yaml --storage {measured}` resumes." in out


def test_trials_not_sent_to_mlflow_are_counted_with_the_command_that_sends_them(run_with, measured):
    code, out, _ = run_with(outcome(unsent=["a", "b"], tracking_uri="http://mlflow:5000"))
    assert code == 0
    assert (
        f"2 trials have not reached the tracking server; nothing is lost: `raybench track {measured}`" in out
    )
    assert "mlflow.db" not in out


def test_a_refusal_before_the_start_exits_with_2(run_with):
    code, _, err = run_with(StorageError("another process is running experiment 'small'."))
    assert (code, err) == (2, "raybench: another process is running experiment 'small'.\n")


def test_an_unexpected_error_exits_with_70_and_names_the_file_with_its_traceback(
    run_with, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, _, err = run_with(ZeroDivisionError("a\x1b[2J\nb"))
    assert code == 70
    start, _, file = err.removesuffix("\n").partition(" in ")
    assert start == (
        "raybench: unexpected error, a bug of raybench: ZeroDivisionError: a\\x1b[2J b; "
        "please report it with its traceback"
    )
    assert "Traceback (most recent call last)" in Path(file).read_text()
    assert Path(file).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("argument", ["a\x1b[2J", "a\u202eb", "a\u200bb", "a\udcffb", "a\nb"])
def test_an_argument_with_a_control_character_is_refused(capsys, argument):
    assert main(["rank", "runs", "--experiment", argument]) == 2
    err = capsys.readouterr().err
    assert "has the character" in err
    assert err.isascii()
    assert err[:-1].isprintable()


@pytest.mark.parametrize("port", ["99999", "0", "-1", "x"])
def test_an_impossible_port_is_refused(capsys, port):
    with pytest.raises(SystemExit) as caught:
        main(["ui", f"--port={port}"])
    assert caught.value.code == 2
    assert f"must be a port, 1 to 65535, got '{port}'" in capsys.readouterr().err


def test_an_unknown_experiment_is_not_tracked(measured, capsys):
    assert main(["track", str(measured), "--experiment", "smal"]) == 2
    assert "no experiment 'smal' in" in (err := capsys.readouterr().err)
    assert "did you mean 'small'" in err
    assert not (measured / "mlflow.db").exists()


def test_a_cache_that_is_not_there_and_an_empty_storage_name_are_refused(write, tmp_path, capsys):
    assert main(["cache", str(tmp_path / "nope")]) == 2
    assert "no storage at" in capsys.readouterr().err
    assert main(["run", str(write()), "--storage", ""]) == 2
    assert "the storage's name is empty" in capsys.readouterr().err


def test_huge_numbers_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["recommend", "--top", "1" + 20 * "0"])
    assert "must be at most 1000000000" in capsys.readouterr().err


def test_ctrl_c_outside_a_run_prints_one_word(run_with):
    code, _, err = run_with(KeyboardInterrupt())
    assert (code, err) == (130, "raybench: interrupted.\n")


def test_a_plan_starts_nothing_and_counts_trials(write, tmp_path, capsys):
    assert main(["plan", str(write())]) == 0
    out = capsys.readouterr().out
    assert "knn" in out
    assert "2 pairs" in out
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize("what", CHOICES)
def test_every_catalogue_is_listed_as_table_and_json(capsys, what):
    assert main(["list", what]) == 0
    table = capsys.readouterr().out
    assert main(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(table.splitlines()) == 1 + len(rows)
    assert all(str(row["name"]) in table for row in rows)


def test_every_listing_is_a_choice_of_the_command():
    assert set(CHOICES) == set(LISTINGS)


def test_an_unknown_catalogue_is_refused_with_the_choices(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["list", "models"])
    assert caught.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_a_ranking_has_the_better_backbone_first(measured, capsys):
    assert main(["rank", str(measured), "--format", "csv"]) == 0
    out = capsys.readouterr().out
    assert out.index("mini_vit.random") < out.index("mini_resnet.random")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "acuracy"], "did you mean 'accuracy'"),
        (["--experiment", "smal"], "did you mean 'small'"),
    ],
)
def test_ranking_by_an_unknown_name_is_refused(measured, capsys, arguments, message):
    assert main(["rank", str(measured), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_ranking_an_empty_storage_says_what_to_do_first(tmp_path, capsys):
    assert main(["rank", str(tmp_path)]) == 2
    assert "`raybench run` an experiment with this storage first" in capsys.readouterr().err


def test_tracking_an_empty_storage_is_refused(tmp_path, capsys):
    assert main(["track", str(tmp_path)]) == 2
    assert "holds no experiment" in capsys.readouterr().err


def test_tracking_an_unknown_experiment_is_refused_and_creates_none(measured, capsys):
    assert main(["track", str(measured), "--experiment", "smal"]) == 2
    assert f"no experiment 'smal' in '{measured}'; did you mean 'small'?" in capsys.readouterr().err
    assert not (measured / "mlflow.db").exists()


def test_the_cache_of_no_storage_is_refused(tmp_path, capsys):
    assert main(["cache", str(tmp_path / "nope")]) == 2
    assert f"no storage at '{tmp_path}/nope'" in capsys.readouterr().err


def test_the_cache_prints_its_size_and_can_be_emptied(tmp_path, capsys):
    (tmp_path / "features" / "killed.partial").mkdir(parents=True)
    (tmp_path / "features" / "killed.partial" / "features.npy").write_bytes(bytes(2**20))
    assert main(["cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"0 feature sets, 1.0 MiB in {tmp_path}/features\n"
    assert main(["cache", str(tmp_path), "--clear"]) == 0
    assert capsys.readouterr().out.endswith("emptied.\n")
    assert not (tmp_path / "features" / "killed.partial").exists()


@pytest.mark.parametrize("arguments", [["list", "backbones"], ["rank", "{storage}"], ["plan", "{spec}"]])
def test_reading_commands_load_neither_torch_nor_ray_nor_mlflow(measured, write, arguments):
    filled = [text.format(storage=measured, spec=write()) for text in arguments]
    code = (
        "import sys\n"
        "from raybench.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print([name for name in ('torch', 'ray', 'mlflow', 'timm') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *filled]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_pipe_reader_that_ends_early_is_not_an_error():
    pipe = f"{sys.executable} -m raybench.cli list tasks | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "1" + "0" * 20, "9" * 4000, "nan", "²"])
def test_a_number_that_an_option_cannot_take_is_bad_input(capsys, number):
    with pytest.raises(SystemExit) as ended:
        main(["recommend", "published:bob", "--top", number])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "must be at most 1000000000" in error or "must be a whole number of at least 1" in error


def test_more_backbones_than_there_are_may_be_asked_for(capsys):
    assert main(["recommend", "published:bob", "--top", "1000000000"]) == 0
    assert capsys.readouterr().out.count("\n") > 30
