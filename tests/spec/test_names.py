"""Backbones of a spec: names, globs, groups, random twins, timm's own names, checkpoint files."""

import pytest

from raybench.spec import load_spec


def names_of(path):
    return [info.name for info in load_spec(path).backbones]


def test_rows_of_globs_and_groups_are_taken_once_in_the_specs_order(write):
    path = write(backbones="[mini_vit.supervised, 'mini_*.supervised', '@mini']")
    names = names_of(path)
    assert names[0] == "mini_vit.supervised"
    assert len(names) == len(set(names))
    assert "mini_swin.random" in names


def test_any_timm_name_works_without_a_row(write):
    info = load_spec(write(backbones="[resnet26.bt_in1k]")).backbones[0]
    assert (info.name, info.timm, info.weights, info.family) == (
        "resnet26.bt_in1k",
        "resnet26.bt_in1k",
        "timm",
        "cnn",
    )


def test_a_random_twin_of_any_timm_architecture_works(write):
    info = load_spec(write(backbones="[resnet26.random5]")).backbones[0]
    assert (info.timm, info.weights, info.init_seed, info.method) == ("resnet26", "random", 5, "none")


def test_a_checkpoint_file_is_a_row_named_after_it(write, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "best.safetensors").touch()
    spec = load_spec(write(backbones="[{timm: resnet18, checkpoint: runs/best.safetensors}]"))
    info = spec.backbones[0]
    assert (info.name, info.weights, info.family) == ("resnet18.best", "file", "cnn")
    assert info.checkpoint == str(tmp_path / "runs" / "best.safetensors")


def test_facts_about_a_checkpoint_file_are_kept(write, tmp_path):
    (tmp_path / "w.pth").touch()
    row = (
        "{name: mine, timm: resnet18, checkpoint: w.pth, method: dino, pretrain_data: birds, "
        "pretrain_images: 9, kwargs: {in_chans: 3, act: null}, "
        "preprocessing: {mean: [0.5, 0.5, 0.5], crop_pct: 1.0, input_size: 64}}"
    )
    info = load_spec(write(backbones=f"[{row}]")).backbones[0]
    assert (info.method, info.pretrain_data, info.pretrain_images) == ("dino", "birds", 9)
    assert info.kwargs == {"in_chans": 3, "act": None}
    assert info.preprocessing == {"mean": [0.5, 0.5, 0.5], "crop_pct": 1.0, "input_size": 64}
    assert info.input_size == 64


@pytest.mark.parametrize(
    ("backbones", "message"),
    [
        ("[resnet18.a1_in1]", "unknown backbone 'resnet18.a1_in1'; did you mean 'resnet18.a1_in1k'?"),
        ("[resnet26.bt_in1]", "unknown backbone 'resnet26.bt_in1'; did you mean 'resnet26.bt_in1k'?"),
        ("[resnet26old]", "timm has renamed 'resnet26old'; write 'resnet26.bt_in1k'."),
        ("[{timm: resnet26old}]", "no timm model: 'resnet26old'; timm has renamed it 'resnet26.bt_in1k'."),
        ("[zzz]", "unknown backbone 'zzz'; timm does not know it either. `raybench list backbones` prints"),
        (
            "[resnet50]",
            "'resnet50' is an architecture, not a checkpoint; write one of resnet50.a1_in1k, resnet50.tv",
        ),
        ("[resnet26]", "'resnet26' is an architecture, not a checkpoint; write one of resnet26.bt_in1k,"),
        ("[{timm: resnet18}]", "'resnet18' is an architecture, not a checkpoint"),
        ("[resnet62.random]", "unknown backbone 'resnet62'"),
        ("['@minni']", "unknown group '@minni'; did you mean '@mini'?"),
        ("['mini_vitt*']", "'mini_vitt*' matches none of the"),
        ("[mini_vit.mae, mini_vit.mae]", "backbone 'mini_vit.mae' is already listed in line 2; keep one."),
        ("[]", "`backbones` needs at least one entry, got []."),
        ("mini_vit.mae", "`backbones` must be a list, got 'mini_vit.mae' (text); write [mini_vit.mae]."),
        ("[3]", "`backbones[0]` must be text, got 3; quote it: '3'."),
        ("[{name: x}]", "key `backbones[0].timm` is missing; write for example `timm: resnet18`."),
        ("[{timm: resnet18, chekpoint: x}]", "unknown key 'chekpoint'; did you mean 'checkpoint'?"),
        (
            "[{timm: resnet19, checkpoint: x}]",
            "`timm` names no timm model: 'resnet19'; did you mean 'resnet18'?",
        ),
        ("[{timm: resnet18, checkpoint: no/x.pth}]", "there is no folder '"),
        ("[{timm: resnet18.a1_in1k}]", "backbone name 'resnet18.a1_in1k' is the catalogue's own"),
        ("[no]", "`backbones[0]` must be text, got no (true or false); quote it: 'no'."),
        (
            "[{timm: resnet18, checkpoint: ~nosuchuser/x}]",
            "'~nosuchuser/x' cannot be used: there is no such user",
        ),
        ("[{timm: resnet18, checkpoint: " + 300 * "x" + "}]", "xxx' cannot be used: File name too long"),
        (
            "[{timm: resnet18.a1_in1k, name: x, family: conv}]",
            "`backbones[0].family` must be one of cnn, transformer, hybrid, unknown, got 'conv'",
        ),
        (
            "[{timm: resnet18.a1_in1k, name: x, preprocessing: {mean: [0.5]}}]",
            "`backbones[0].preprocessing.mean` needs at least 3 entries, got [0.5].",
        ),
    ],
)
def test_an_invalid_backbone_is_refused_with_its_line(problems, backbones, message):
    assert any(
        problem.startswith("line 2: ") and message in problem for problem in problems(backbones=backbones)
    )


def test_a_missing_checkpoint_is_refused_with_the_nearest_file_name(problems, tmp_path):
    (tmp_path / "best.pth").touch()
    (problem,) = problems(backbones="[{timm: resnet18, checkpoint: bets.pth}]")
    assert problem == (
        f"line 2: checkpoint '{tmp_path / 'bets.pth'}': no such file; did you mean 'best.pth'?"
    )


def test_two_checkpoint_files_of_one_name_need_names(problems, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "best.pth").touch()
    rows = "[{timm: resnet18, checkpoint: a/best.pth}, {timm: resnet18, checkpoint: b/best.pth}]"
    (problem,) = problems(backbones=rows)
    assert problem.endswith("already listed in line 2; give each checkpoint its own `name`.")
