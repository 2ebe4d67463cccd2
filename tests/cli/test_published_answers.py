"""Answers from published tables, before anything is computed: `rank` and `recommend` with limits."""

import json
import subprocess
import sys

import pytest

from raybench.cli.__main__ import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_small_backbones_are_ranked_among_all(capsys):
    code, text = run(capsys, "rank", "published:timm", "--max-params", "30", "--top", "3", "--format", "json")
    assert code == 0
    shown = json.loads(text)["ranking"]
    assert len(shown) == 3
    assert shown[0]["overall_rank"] > 100  # Larger backbones come first.
    _, everything = run(capsys, "rank", "published:timm", "--format", "json")
    by_name = {row["backbone"]: row for row in json.loads(everything)["ranking"]}
    assert len(by_name) == 1265
    assert all(by_name[row["backbone"]]["overall_rank"] == row["overall_rank"] for row in shown)


def test_a_recommendation_keeps_the_limits_and_names_the_machine(capsys):
    limits = ("--max-params", "30", "--min-throughput", "40", "--machine", "cpu")
    code, text = run(capsys, "recommend", "published:timm", *limits, "--format", "json")
    assert code == 0
    for row in json.loads(text)["recommended"]:
        assert row["params_m"] <= 30
        assert row["images_per_second"] >= 40
    _, text = run(capsys, "recommend", "published:timm", *limits)
    assert "Throughput: laptop CPU i7-12700H" in text


def test_a_limit_on_throughput_needs_a_machine(capsys):
    code, text = run(capsys, "rank", "published:timm", "--min-throughput", "40")
    assert code == 2
    assert "published:timm states it for --machine rtx5090|rtx4090|rtx3090|cpu" in text


def test_limits_that_nothing_meets_are_refused(capsys):
    code, text = run(capsys, "rank", "published:timm", "--max-params", "0.001")
    assert code == 2
    assert "no backbone has size at most 0.001 M parameters" in text


def test_an_answer_needs_neither_torch_nor_ray_nor_timm():
    program = (
        "import sys; from raybench.cli.__main__ import main; main(['rank', 'published:timm', '--top', '1']);"
        "print([name for name in ('torch', 'ray', 'timm', 'mlflow') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
