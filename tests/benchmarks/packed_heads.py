"""52 heads (13 learning rates × 4 weight decays) trained in one pass over the features, against one head."""

import torch

from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import HparamValue
from raybench.evaluation.linear_probe import linear_probe
from raybench.features.store import FeatureSet
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import context_of, make_features

NUM_FEATURES, NUM_CLASSES, BATCH_SIZE = 512, 10, 256
CHECKED = (20, 27, 33)
"""Grid cells that are also trained alone, to check that packing changes nothing."""
TOLERANCE = 0.002


def measure(quick: bool) -> list[Ratio]:
    num_examples = 4_096 if quick else 51_200
    splits = {
        "train": make_features(num_examples, NUM_FEATURES, NUM_CLASSES, seed=0, noise=12.0),
        "val": make_features(num_examples // 10, NUM_FEATURES, NUM_CLASSES, seed=1, noise=12.0),
    }
    return [ratio for solver in ("sgd", "adamw") for ratio in _compare(solver, splits, quick)]


def _compare(solver: str, splits: dict[str, FeatureSet], quick: bool) -> list[Ratio]:
    context = context_of(splits, NUM_CLASSES)
    hparams = {"solver": solver, "feature_norm": "standardize", "batch_size": BATCH_SIZE, "epochs": 1}
    grid = list(linear_probe(context, hparams, 0, 1).run_epochs())[-1].grid
    names = PROTOCOLS["linear_probe"].packed_grid(hparams)
    cells = [{name: grid[i][name] for name in names} for i in range(len(grid))]

    def alone(index: int) -> float:
        return list(linear_probe(context, hparams, 0, 1, cells[index]).run_epochs())[-1].metrics["accuracy"]

    gap = max(abs(alone(i) - float(grid[i]["accuracy"])) for i in CHECKED)
    spent = in_turn(
        {
            "packed": lambda: list(linear_probe(context, hparams, 0, 1).run_epochs()),
            "one": lambda: alone(CHECKED[1]),
            "linear": lambda: _modules(splits, solver, cells[CHECKED[1] : CHECKED[1] + 1]),
            "dino": lambda: _modules(splits, solver, cells),
        },
        rounds=3 if quick else 5,
    )
    common = {
        "ours": "a trial that trains and scores the whole grid",
        "target": 8.0,
        "gate": f"{len(CHECKED)} of the heads trained alone: val accuracy within {gap:.4f}",
        "is_gate_passed": gap <= TOLERANCE,
        "numbers": {**{f"{side}_cpu_seconds": value for side, value in spent.items()}, "heads": len(grid)},
    }
    return [
        Ratio(
            name=f"52 packed heads, {solver}",
            theirs="one `nn.Linear` under `torch.optim`, bare loop over standardised features, no scoring",
            measured=spent["packed"] / spent["linear"],
            note=f"As in DINOv2, 52 `nn.Linear`s in that loop take {spent['dino'] / spent['linear']:.1f}×.",
            **common,
        ),
        Ratio(
            name=f"52 packed heads, {solver}, against raybench with one head",
            theirs="the same trial with one head",
            measured=spent["packed"] / spent["one"],
            note="The harder comparison: one head without autograd costs "
            f"{spent['one'] / spent['linear']:.2f} of one `nn.Linear`; 52 heads need 52 times its products.",
            **common,
        ),
    ]


def _modules(splits: dict[str, FeatureSet], solver: str, cells: list[dict[str, HparamValue]]) -> None:
    """One epoch of one module per cell under one optimiser, as dinov2/eval/linear.py trains them."""
    features, targets = (torch.from_numpy(a) for a in (splits["train"].features, splits["train"].targets))
    heads = torch.nn.ModuleList(torch.nn.Linear(NUM_FEATURES, NUM_CLASSES) for _ in cells)
    groups = [
        {"params": list(head.parameters()), "lr": cell["lr"], "weight_decay": cell["weight_decay"]}
        for head, cell in zip(heads, cells, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9) if solver == "sgd" else torch.optim.AdamW(groups)
    mean, deviation = features.mean(0), features.std(0)
    torch.set_flush_denormal(
        True
    )  # As in raybench, which would otherwise be ten times faster for this reason alone.
    for batch in torch.randperm(len(targets)).split(BATCH_SIZE):
        inputs, labels = (features[batch] - mean) / deviation, targets[batch]
        loss = sum(torch.nn.functional.cross_entropy(head(inputs), labels) for head in heads)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_flush_denormal(False)
