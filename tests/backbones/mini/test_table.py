from raybench.backbones.mini import table
from raybench.backbones.mini.files import read_sidecar
from raybench.catalog.mini import MINI


def test_the_table_of_the_readme_is_current() -> None:
    assert table.main(["--check"]) == 0


def test_the_table_has_one_row_per_file_with_the_accuracy_of_its_sidecar() -> None:
    rows = table.table().splitlines()[2:]
    names = [info.name for info in MINI if info.weights == "file"]
    assert len(rows) == len(names)
    for name, row in zip(names, rows, strict=True):
        accuracy = read_sidecar(name)["linear_probe_cifar10"]["accuracy"]
        assert f"| `{name}` |" in row
        assert f"| {100 * accuracy:.1f} |" in row


def test_only_the_text_between_the_markers_is_replaced() -> None:
    text = table.with_table(f"before\n{table.BEGIN}old\n{table.END}after\n")
    assert text.startswith(f"before\n{table.BEGIN}| backbone |")
    assert text.endswith(f"{table.END}after\n")
    assert "old" not in text
