"""A stored spec that is damaged or not raybench's is refused by every command that reads results."""

import json

import pytest

from raybench.cli import main
from raybench.store import layout
from tests.report.results_on_disk import fill


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "holds no spec"),
        ([1], "holds no spec"),
        ({"backbones": 3}, "`backbones` are no list of mappings"),
        ({"backbones": [3]}, "`backbones` are no list of mappings"),
        ({"backbones": [{}]}, "a name is None"),
        ({"backbones": [{"name": ["x"]}]}, "a name is ['x']"),
        (
            {"backbones": [{"name": "a\x1b[2J"}]},
            "the name 'a\\x1b[2J' has the character '\\x1b' at position 2",
        ),
        ({"tasks": "knn@digits"}, "`tasks` are no list"),
        ({"tasks": [1]}, "a name is 1"),
        ({"backbones": [{"name": "good", "params_m": -1}]}, "`params_m` of 'good' is -1"),
        (
            {"backbones": [{"name": "good", "pretrain_images": "many"}]},
            "`pretrain_images` of 'good' is 'many'",
        ),
        ({"backbones": [{"name": "good", "family": 3}]}, "`family` of 'good' is 3"),
    ],
)
def test_a_spec_of_another_shape_is_refused(tmp_path, capsys, content, problem):
    storage = fill(tmp_path, tasks=("knn@digits",), seeds=(0,))
    layout.spec_file(storage, "e").write_text(json.dumps(content))
    for command in ("rank", "recommend"):
        assert main([command, str(storage)]) == 2
        err = capsys.readouterr().err
        assert "spec.json" in err
        assert problem in err


def test_provenance_that_is_no_json_is_refused(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("backbone,task,metric,value,provenance\na,knn@digits,accuracy,0.5,{\n")
    assert main(["report", str(table)]) == 2
    assert "line 2: `provenance` must be JSON, got '{'" in capsys.readouterr().err
