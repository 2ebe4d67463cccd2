"""Exact search of 20,000 queries among 100,000 gallery vectors: torch.topk of the full matrix, and faiss.

`python -m tests.benchmarks --only retrieval`, or one round with `python -m tests.benchmarks.bench_retrieval
[--quick] [--memory]`. faiss-cpu is needed for its row only. All sides compute in float32 on one thread;
`--memory` runs search and then the whole protocol over 200,000 × 384: the peak over the features.
"""

import argparse
import importlib.util
import json
import resource
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from raybench.core.records import HparamValue
from raybench.data.ground_truth import Gallery
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.exact_search import RoundedSimilarity, nearest
from raybench.evaluation.retrieval.protocol import retrieval
from tests.benchmarks.ratio import Ratio

WIDTH, K = 384, 100


def unit(num: int, seed: int) -> torch.Tensor:
    rows = torch.randn(num, WIDTH, generator=torch.Generator().manual_seed(seed))
    return rows.div_(rows.norm(dim=1, keepdim=True))


def ours(queries: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    return nearest(queries, gallery, K, RoundedSimilarity("dot", torch.float32)).indices


def plain(queries: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    return (queries @ gallery.T).topk(K, dim=1).indices


def flat(queries: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(WIDTH)
    index.add(gallery.numpy())
    return torch.from_numpy(index.search(queries.numpy(), K)[1])


def compare(num_queries: int, num_gallery: int) -> dict[str, Any]:
    """CPU seconds of each side, ratios, and the share of places where they name the same image."""
    queries, gallery = unit(num_queries, 0), unit(num_gallery, 1)
    sides = {"ours": ours, "plain": plain}
    if importlib.util.find_spec("faiss"):
        sides["faiss"] = flat
    spent, found = {}, {}
    for name, side in sides.items():
        side(queries[:64], gallery)
        before = time.process_time()
        found[name] = side(queries, gallery)
        spent[name] = round(time.process_time() - before, 2)
    return {
        "sizes": [num_queries, num_gallery, WIDTH, K],
        "threads": torch.get_num_threads(),
        "cpu_seconds": spent,
        "ratio": {name: round(spent["ours"] / spent[name], 3) for name in sides if name != "ours"},
        "same": {
            name: float((found[name] == found["ours"]).float().mean()) for name in sides if name != "ours"
        },
    }


def measure(quick: bool) -> list[Ratio]:
    """The ratios of three rounds (one where `quick`), medians."""
    sizes = (2_000, 10_000) if quick else (20_000, 100_000)
    rounds = [compare(*sizes) for _ in range(1 if quick else 3)]
    found = []
    for name in rounds[0]["ratio"]:
        same = min(part["same"][name] for part in rounds)
        found.append(
            Ratio(
                name=f"exact search against {name}",
                ours="nearest, float32",
                theirs={"plain": "torch.topk of the full matrix", "faiss": "faiss-cpu IndexFlatIP"}[name],
                target=1.0,
                measured=statistics.median(part["ratio"][name] for part in rounds),
                gate=f"the same image in {same:.3%} of places; others are ties of rounding",
                is_gate_passed=same >= 0.999,
                numbers={"ratios": [part["ratio"][name] for part in rounds]},
            )
        )
    return found


def memory(num_gallery: int = 200_000, num_queries: int = 2_000) -> dict[str, object]:
    """Peak resident MiB over what was there before the search, features included."""
    queries, gallery = unit(num_queries, 0), unit(num_gallery, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours(queries, gallery)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del queries, gallery
    return {"sizes": [num_queries, num_gallery, WIDTH], "extra_mib": (after - before) / 1024}


def protocol_memory(
    num_gallery: int = 200_000, num_queries: int = 2_000, **hparams: HparamValue
) -> dict[str, object]:
    """The same of a whole report: normalisation, search, ranks of positives; 100 images a class."""
    parts = {"train": unit(num_gallery, 1).numpy(), "val": unit(num_queries, 0).numpy()}
    store = SimpleNamespace(
        get=lambda info, dataset, split, **_: SimpleNamespace(
            features=parts[split], targets=np.arange(len(parts[split])) % (num_gallery // 100)
        )
    )
    context = TrialContext(
        backbone_info=None,
        dataset=SimpleNamespace(distractors=None, gallery=lambda split: Gallery()),
        store=store,
        device=torch.device("cpu"),
        checkpoint_dir=Path(),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    retrieval(context, hparams, 0, 1).report("val")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sizes = [num_queries, num_gallery, WIDTH]
    return {"sizes": sizes, "hparams": hparams, "extra_mib": (after - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 × 10,000: is it working, not how fast")
    parser.add_argument("--memory", action="store_true", help="memory only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        print(json.dumps(protocol_memory()))
        print(json.dumps(protocol_memory(normalisation="pca_whiten")), "(beyond the peak before)")
        print(json.dumps(memory()), "(beyond the peak before)")
    else:
        print(json.dumps(compare(2_000, 10_000) if arguments.quick else compare(20_000, 100_000)))


if __name__ == "__main__":
    main()
