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
        (
            "name: !!python/object/apply:os.getcwd []",
            "line 1: '!!python/object/apply:os.getcwd' is a tag in YAML, which",
        ),
        ("name: a\nb: x\x00", r"line 2: not YAML: unacceptable character '\\x00'; remove it"),
        ('name: a\nb: "x\\e[2J"', r"line 2: 'x\\x1b\[2J' has the character '\\x1b' at position 2; remove it"),
        ('name: a\n"b\\u202e": x', r"line 2: 'b\\u202e' has the character '\\u202e'"),
        ('name: "\\ud800"', r"line 1: '\\ud800' has the character '\\ud800'"),
        ("name: " + 501 * "x", "line 1: 'x+ has 501 characters; at most 500 are allowed"),
        ("a: 1\nb: !!bool maybe", "line 2: '!!bool' is a tag in YAML, which a spec must not use"),
        ("a: 1\nb: !!timestamp abc", "line 2: '!!timestamp' is a tag"),
        ("a: 1\nb: " + 5000 * "9", "line 2: not YAML: '9+' cannot be read as a whole number"),
        ("a: 1\nb: 0b_", "line 2: not YAML: '0b_' cannot be read as a whole number"),
        ("a: " + 100_000 * "[\n", "line 30: lists and mappings are nested 31 deep"),
        ("a: " + 100_000 * "[", "line 1: lists and mappings are nested 31 deep"),
        ("b: " + 200 * "x" + ": y", "line 1: not YAML: .* at 'b: x{57}…'"),
        ("a:\n" + 2_000 * "- " + "b", "line 2: lists and mappings are nested 31 deep"),
        ("? [a, b]\n: c", "line 1: not YAML: found unhashable key"),
        ("x" * 1_000_001, "the file has 1,000,001 bytes; a spec has at most 1,000,000"),
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


def test_dates_times_and_keys_are_text_and_other_values_keep_their_types(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        "day: 2020-99-99\ntime: 1:30\non: 1\n2: x\n<<: y\n=: =\n"
        "small: 1e-3\nhash: 1e5a\nno: [no, off, true]\n"
        "number: [0x1f, 010, 1_000, -2, .5, 1., +1.5e+3, .inf]\nnone: [~, null, '']\n"
    )
    assert read_document(path).data == {
        "day": "2020-99-99",
        "time": "1:30",
        "on": 1,
        "2": "x",
        "<<": "y",
        "=": "=",
        "small": 0.001,
        "hash": "1e5a",
        "no": [False, False, True],
        "number": [31, 8, 1000, -2, 0.5, 1.0, 1500.0, float("inf")],
        "none": [None, None, ""],
    }


def test_a_citation_may_have_lines_but_no_control_characters(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("backbones:\n- citation: |\n    two\n    lines\n")
    assert read_document(path).data == {"backbones": [{"citation": "two\nlines\n"}]}
    path.write_text('backbones:\n- citation: "two\\e lines"\n')
    with pytest.raises(SpecError, match=r"line 2: `citation` has the character '\\x1b'"):
        read_document(path)
