"""A CSV table as a source: read to the last digit, and refused with the line that is wrong."""

import polars as pl
import pytest

from raybench.core.errors import (
    DataError,
    DuplicateMeasurementError,
    EmptyInputError,
    OutOfBoundsError,
    StorageError,
    UnknownNameError,
)
from raybench.report.gather.sources import read_results
from raybench.report.gather.table_file import parse_tables, read_table
from raybench.report.render.tables import csv_text
from raybench.store.measurements import SCHEMA, read_measurements
from raybench.tracking.run_content import as_csv
from tests.report.results_on_disk import fill

HEAD = "backbone,task,metric,value\n"
LINE = "a,knn@digits,accuracy,0.5\n"


def test_a_line_with_too_many_cells_is_named(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("backbone,task,metric,value\na,knn@digits,accuracy,0.5\nb,knn@digits,accuracy,0,4\n")
    with pytest.raises(DataError, match=r"line 3: 5 cells, but the first line names 4 columns; quote"):
        read_table(file)


def test_a_storages_table_written_as_csv_comes_back_equal(tmp_path):
    measurements = read_measurements(fill(tmp_path / "storage"))
    measurements.write_csv(tmp_path / "table.csv")
    assert read_results([tmp_path / "table.csv"]).measurements.equals(measurements)
    halves = [part.write_csv() for part in (measurements[:7], measurements[7:])]
    assert parse_tables(halves, "halves").equals(measurements)


def test_omitted_columns_have_their_documented_defaults(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("\ufeff" + HEAD + LINE)
    measurements, spec = read_table(file)
    assert measurements.schema == SCHEMA
    assert measurements.row(0, named=True) == {
        "experiment": "mine",
        "backbone": "a",
        "task": "knn@digits",
        "split": "test",
        "condition": "clean",
        "metric": "accuracy",
        "seed": 0,
        "value": 0.5,
        "num_examples": None,
        "trial_id": "",
        "provenance": "{}",
    }
    assert spec == {"name": "mine", "backbones": [{"name": "a"}], "tasks": ["knn@digits"]}


def test_columns_about_a_backbone_may_be_filled_in_any_of_its_lines(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(
        "backbone,task,metric,value,family,params_m\n"
        "a,knn@digits,accuracy,0.5,cnn,5.5\na,finetune@digits,accuracy,0.5,,\n"
    )
    _, spec = read_table(file)
    assert spec["backbones"] == [{"name": "a", "family": "cnn", "params_m": 5.5}]


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("", EmptyInputError, "first line must name the columns"),
        (HEAD, EmptyInputError, "holds no measurement"),
        ("backbone,task,metric\na,knn@digits,accuracy\n", DataError, "lacks the column 'value'"),
        (HEAD.replace(",", ";") + LINE.replace(",", ";"), DataError, "unknown column .*separated by commas"),
        (HEAD.replace("value", "valeu") + LINE, DataError, "'valeu'; did you mean 'value'"),
        (
            HEAD + LINE + "b,knn@digits,accuracy,much\n",
            DataError,
            "line 3: `value` must be a number, got 'much'",
        ),
        (HEAD + LINE + 'b,knn@digits,accuracy,"0,5"\n', DataError, "line 3: `value` must be a number"),
        (HEAD + LINE + "b,,accuracy,0.5\n", DataError, "line 3: `task` is empty"),
        (
            HEAD + LINE + "\x1b[2J,knn@digits,accuracy,0.5\n",
            DataError,
            "line 3: `backbone` has the character",
        ),
        (HEAD + LINE + "a\u202eb,knn@digits,accuracy,1\n", DataError, "line 3: `backbone` has the character"),
        (
            HEAD + LINE + 501 * "x" + ",knn@digits,accuracy,1\n",
            DataError,
            "line 3: `backbone` has 501 characters",
        ),
        (
            HEAD + LINE + "b,digits,accuracy,0.5\n",
            UnknownNameError,
            "line 3: task 'digits' is not of the form",
        ),
        (HEAD.strip() + ", value\na,knn@digits,accuracy,1,1\n", DataError, "names the column 'value' twice"),
        (
            HEAD.strip() + ",params_m\na,knn@digits,accuracy,1,-1\n",
            DataError,
            "line 2: `params_m` must be a number",
        ),
        (
            HEAD.strip() + ",params_m\na,knn@digits,accuracy,1,inf\n",
            DataError,
            "`params_m` must be a number above 0",
        ),
        (
            HEAD.strip() + ",images_per_second\na,knn@digits,accuracy,1,0\n",
            DataError,
            "must be a number above 0",
        ),
        (
            HEAD.strip() + ",num_examples\na,knn@digits,accuracy,1,-5\n",
            DataError,
            "must be at least 1, got -5",
        ),
        (
            HEAD.strip() + ",provenance\na,knn@digits,accuracy,1,x\n",
            DataError,
            "line 2: `provenance` must be JSON",
        ),
        (HEAD.strip() + ",provenance\na,knn@digits,accuracy,1,[]\n", DataError, "must be a mapping"),
        (HEAD + LINE + LINE, DuplicateMeasurementError, "share an identity"),
        (HEAD + LINE.replace("0.5", "50"), OutOfBoundsError, "fractions are stored, not percent"),
        (HEAD + LINE.replace("accuracy", "acuracy"), UnknownNameError, "did you mean 'accuracy'"),
        (HEAD + LINE.replace("0.5", "0.5,9,9"), DataError, "line 2: 6 cells, but the first line names 4"),
        (
            "backbone,task,metric,value,split\na,knn@digits,accuracy,0.5,train\n",
            DataError,
            "line 2: `split` must be val or test, got 'train'",
        ),
        (
            "backbone,task,metric,value,seed\na,knn@digits,accuracy,0.5,1.5\n",
            DataError,
            "line 2: `seed` must be a whole number, got '1.5'",
        ),
        (
            "backbone,task,metric,value,params_m\na,knn@digits,accuracy,0.5,1\na,finetune@digits,accuracy,1,2\n",
            DataError,
            "gives 'a' several params_m: 1.0 and 2.0",
        ),
    ],
)
def test_errors_name_the_line(tmp_path, text, error, sentence):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(error, match=sentence):
        read_table(file)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        read_results([tmp_path / "gone.csv"])
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StorageError, match="not UTF-8"):
        read_results([tmp_path / "t.csv"])


def test_every_backbone_is_expected_on_every_task_of_the_file(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(HEAD + LINE + "b,finetune@digits,accuracy,0.5\n")
    pairs = read_results([file]).expected.sort("backbone", "task")
    assert pairs.rows() == [(b, t) for b in "ab" for t in ("finetune@digits", "knn@digits")]
    assert isinstance(pairs, pl.DataFrame)


def test_a_message_quotes_no_control_character(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(HEAD + LINE + '"{""a\x00\t"": 1,b\n')
    with pytest.raises(DataError) as caught:
        read_table(file)
    assert str(caught.value).isprintable()


def test_empty_lines_at_the_end_are_skipped(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(HEAD + LINE + "\n \n\r\n")
    assert read_table(file)[0].height == 1


def test_exports_neutralise_formulas_but_not_numbers_and_are_read_back(tmp_path):
    names = ["=cmd|' /C calc'!A0", "+a", "-b", "@c", "-0.5", "+1e-3", "plain"]
    cells = [{"backbone": name, "task": "knn@digits", "metric": "accuracy", "value": 0.5} for name in names]
    texts = [as_csv(cells), csv_text(pl.DataFrame(cells)), as_csv([{"x": "\ta"}, {"x": "\ra"}])]
    for text in texts[:2]:
        lines = [line.partition(",knn")[0] for line in text.splitlines()[1:]]
        assert lines == ["'=cmd|' /C calc'!A0", "'+a", "'-b", "'@c", "-0.5", "+1e-3", "plain"]
        (tmp_path / "t.csv").write_text(text)
        assert set(read_table(tmp_path / "t.csv")[0]["backbone"]) == set(names)
    assert texts[2] == "x\n'\ta\n'\ra\n"
