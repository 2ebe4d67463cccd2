"""A trial on stored features that stays alive until its standard input ends, to measure its memory."""

import json
import sys
from pathlib import Path

import torch

from raybench.catalog.tasks import PROTOCOLS
from raybench.core.registry import load_entry_point
from raybench.evaluation.contracts import TrialContext
from raybench.features.store import FeatureStore
from tests.benchmarks.synthetic import INFO, large_dataset

HPARAMS = {
    "linear_probe": {"solver": "sgd", "feature_norm": "standardize", "batch_size": 1024, "epochs": 1},
    "knn": {"feature_norm": "l2"},
}


def main() -> None:
    protocol, folder, num_examples = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    context = TrialContext(
        backbone_info=INFO,
        dataset=large_dataset(num_examples),
        store=FeatureStore(folder),
        device=torch.device("cpu"),
        checkpoint_dir=folder / "unused",
    )
    run = load_entry_point(PROTOCOLS[protocol].entry_point)(context, HPARAMS[protocol], 0, 1)
    rung = list(run.run_epochs())[-1]
    print(json.dumps({"accuracy": rung.metrics["accuracy"]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
