"""Text → data with line numbers; text that is not YAML is refused in one sentence."""

import pytest

from raybench.core.errors import SpecError
from raybench.spec.document import read_document


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbones: [@mini]", "line 1: not YAML: .* YAML reserves @, so quote a group: '@mini'"),
        ("backbones: [*_small]", r"line 1: \*_small is an alias in YAML.* quote it: '\*_small'"),
        ("a: &x [*x]", r"line 1: \*x is an alias in YAML, which a spec must not use"),
        ("name: x\nbackbones: [a, b", r"line 2: not YAML: .*is a comma or a closing \] missing\?$"),
        ("name: a: b", "line 1: not YAML: mapping values are not allowed here, at 'name: a: b'"),
        ("name:\n\t- b", "line 2: not YAML: .* indent with spaces, not tabs"),
        ("- x", r"line 1: a spec is a mapping of keys \(.*\), got \['x'\]"),
        ("", "line 1: a spec is a mapping of keys .* got an empty file"),
        ("name: !!python/object/apply:os.getcwd []", "line 1: not YAML: could not determine a constructor"),
        ("name: x\x00", "not YAML: unacceptable character"),
        ("d: 2020-99-99", "not YAML: month must be in 1..12"),
    ],
)
def test_text_that_is_no_spec_is_refused_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        read_document(path)
    assert len(caught.value.problems) == 1


def test_a_missing_file_is_refused_with_a_list_of_the_folders_specs(tmp_path):
    (tmp_path / "quickstart.yaml").touch()
    with pytest.raises(SpecError, match=r"no such file; .* has quickstart.yaml"):
        read_document(tmp_path / "quikstart.yaml")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SpecError, match="this is a folder; name the YAML file in it"):
        read_document(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(SpecError, match="not a text file: byte 6 is not UTF-8"):
        read_document(path)


def test_a_repeated_key_is_refused(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("name: a\nsearch: {seed: 1,\n  seed: 2}\nname: b\n")
    assert read_document(path).problems == [
        "line 4: key 'name' is already given in line 1; keep one.",
        "line 3: key 'seed' is already given in line 2; keep one.",
    ] or set(read_document(path).problems) == {
        "line 4: key 'name' is already given in line 1; keep one.",
        "line 3: key 'seed' is already given in line 2; keep one.",
    }


def test_the_line_is_that_of_the_deepest_existing_key(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("name: a\nsearch:\n  seed: 1\ntasks:\n  - x\n  - y\n")
    document = read_document(path)
    assert document.line(("search", "seed")) == 3
    assert document.line(("search", "num_trials")) == 2
    assert document.line(("tasks", 1)) == 6
    assert document.line(("budget",)) == 1
