from raybench.backbones.mini import table
from raybench.backbones.mini.files import read_sidecar
from raybench.catalog.mini import MINI


def test_the_readme_holds_today_s_table() -> None:
    assert table.main(["--check"]) == 0


def test_the_table_has_one_row_per_file_with_its_sidecar_s_accuracy() -> None:
    rows = table.table().splitlines()[2:]
    names = [info.name for info in MINI if info.weights == "file"]
    assert len(rows) == len(names)
    for name, row in zip(names, rows, strict=True):
        accuracy = read_sidecar(name)["linear_probe_cifar10"]["accuracy"]
        assert f"| `{name}` |" in row
        assert f"| {100 * accuracy:.1f} |" in row


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    text = table.with_table(f"before\n{table.BEGIN}old\n{table.END}after\n")
    assert text.startswith(f"before\n{table.BEGIN}| backbone |")
    assert text.endswith(f"{table.END}after\n")
    assert "old" not in text
