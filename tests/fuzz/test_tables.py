"""CSV tables: every table is ranked with its own values, or refused with a plain sentence."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import strategies as st

from raybench.report.gather.sources import read_results

from .law import ODD_VALUES, accepted, edited_text, exit_code, fuzzed

FULL = (
    "experiment,backbone,task,split,condition,metric,seed,value,num_examples,trial_id,provenance,family,params_m,"
    "images_per_second\n"
    'e,a,knn@digits,test,clean,accuracy,0,0.5,100,t1,"{""num_params"": 5, ""device"": ""cpu""}",cnn,5,10\n'
    'e,b,knn@digits,test,clean,accuracy,0,0.6,100,t2,"{""preprocessing"": {""input_size"": 32}}",cnn,7,9\n'
    "e,a,finetune@digits,test,clean,accuracy,0,0.7,100,t3,{},cnn,5,10\n"
    "e,b,finetune@digits,test,clean,accuracy,1,0.8,100,t4,{},cnn,7,9\n"
    "e,b,finetune@digits,test,fog(severity=3),accuracy,1,0.4,100,t4,{},cnn,7,9\n"
)
PLAIN = "backbone,task,metric,value\n" + "".join(
    f"{backbone},knn@{dataset},accuracy,0.{digit}\n"
    for digit, backbone in enumerate("abc", 3)
    for dataset in "xyz"
)
SNIPPETS = (
    *(",", '"', '""', "\n", "\r\n", "\r", ";", "\t", " "),
    *("\x00", "\x1b[2J", "\u202e", "\ufeff", "é", "\n\n", "'", "{", "}"),
    *("-1", "0", "nan", "inf", "1e400", "0.5"),
    *("50", "9" * 30, "accuracy", "clean", "linf_pgd(eps=", "[]", "null"),
    *("@", "=cmd|x", "+1", "value", "seed"),
    *("params_m", "images_per_second", "provenance", "x" * 600, "fog(severity=9)"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@st.composite
def changed_cells(draw: st.DrawFn) -> str:
    """FULL with 1 to 3 cells replaced by odd values."""
    rows = [list(row) for row in csv.reader(io.StringIO(FULL))]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(rows) - 1)) if draw(st.booleans()) else 1
        value = draw(st.sampled_from([v for v in ODD_VALUES if not isinstance(v, dict | list)] + [*SNIPPETS]))
        rows[row][draw(st.integers(0, len(rows[row]) - 1))] = str(value)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _ranked_values(path: Path) -> Mapping[tuple[str, str, str, int, str], float]:
    rows = read_results([path]).measurements.iter_rows(named=True)
    return {(r["backbone"], r["task"], r["condition"], r["seed"], r["metric"]): r["value"] for r in rows}


COMMANDS = (["rank"], ["rank", "--format", "json"], ["recommend", "--top", "2"])


def _check(folder: Path, text: str, command: list[str]) -> None:
    path = folder / "table.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    exit_code(f"table, {command[0]}", [*command, str(path), "--allow-missing"])
    values = accepted("tables", lambda: _ranked_values(path))
    if values is None:
        return
    assert all(math.isfinite(value) for value in values.values())
    for (backbone, task, condition, seed, metric), value in values.items():
        matching = [
            row
            for row in csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
            if _cell(row, "backbone").lstrip("'") == backbone.lstrip("'")
            and _cell(row, "task") == task
            and _cell(row, "metric") == metric
            and (_cell(row, "condition") or "clean") == condition
            and int(_cell(row, "seed") or 0) == seed
        ]
        assert any(float(_cell(row, "value")) == value for row in matching), (backbone, task, value)


def _cell(row: Mapping[str, str | None], column: str) -> str:
    stripped = {(name or "").strip(): cell for name, cell in row.items() if not isinstance(cell, list)}
    return (stripped.get(column) or "").strip()


@fuzzed(edited_text([PLAIN, FULL], SNIPPETS), st.sampled_from(COMMANDS))
def test_a_table_with_changed_text_is_ranked_or_refused(folder, text, command):
    _check(folder, text, command)


@fuzzed(changed_cells(), st.sampled_from(COMMANDS))
def test_a_table_with_changed_cells_is_ranked_or_refused(folder, text, command):
    _check(folder, text, command)


@fuzzed(changed_cells(), short=4, long=150)
def test_a_table_with_changed_cells_is_reported_or_refused(folder, text):
    path = folder / "table.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    exit_code("table, report", ["report", str(path), "--allow-missing", "-o", str(folder / "report.html")])


def test_the_law_sees_a_ranking(folder):
    path = folder / "plain.csv"
    path.write_text(PLAIN)
    assert exit_code("table, rank", ["rank", str(path), "--format", "json"]) == 0
    assert len(_ranked_values(path)) == 9
    assert json.dumps(sorted(set(_ranked_values(path).values()))) == "[0.3, 0.4, 0.5]"


test_many_tables_with_changed_text = test_a_table_with_changed_text_is_ranked_or_refused.long
test_many_tables_with_changed_cells = test_a_table_with_changed_cells_is_ranked_or_refused.long
test_many_reports_of_tables_with_changed_cells = test_a_table_with_changed_cells_is_reported_or_refused.long
