"""The protocol `retrieval` as a table: what is searched, what the paper did, which datasets it took."""

from collections.abc import Mapping

from raybench.catalog.retrieval_datasets import PAPER_ROWS
from raybench.catalog.search_spaces import Choice, SearchSpace
from raybench.core.records import HparamValue

POOLINGS = ("pooled", "cls", "mean", "gem", "max")
GEM_POWERS = (2.0, 3.0, 5.0)
EARLIER_LAYERS = (1,)
SCALES: Mapping[str, tuple[float, ...]] = {
    "single": (1.0,),
    # What revisitop's and GeM's authors test with: 1, √2 and 1/√2 of the side (Radenović et al., TPAMI 2018).
    "multi": (2**-0.5, 1.0, 2**0.5),
}
"""Name → sides of the input, against the backbone's own."""

RETRIEVAL: SearchSpace = {
    # 0 is the last layer, 1 the block or stage before it.
    "layer": Choice(options=(0, *EARLIER_LAYERS), default=0),
    "pooling": Choice(options=POOLINGS, default="pooled"),
    # Of gem alone; 3 is what Radenović et al. (TPAMI 2018) start from.
    "gem_power": Choice(options=GEM_POWERS, default=3.0),
    # Whitening learnt on train is what instance retrieval gains most from (Jégou & Chum, ECCV 2012).
    "normalisation": Choice(options=("l2", "none", "pca_whiten"), default="l2"),
    "distance": Choice(options=("dot", "cosine", "euclidean"), default="dot"),
    # Neighbours averaged into the query; 0 is none. Weights cosine**3: Radenović et al., TPAMI 2018.
    "query_expansion": Choice(options=(0, 1, 3, 10), default=0),
    "expansion_power": Choice(options=(0.0, 3.0), default=3.0),
    # k1 of k-reciprocal re-ranking; 0 is none, 20 the paper's (Zhong et al., CVPR 2017).
    "rerank_neighbours": Choice(options=(0, 10, 20), default=0),
    # Several cost 3.5 times the forward passes of one, once per backbone and dataset.
    "scales": Choice(options=tuple(SCALES), default="single"),
}
"""Trial 0, the defaults, is the paper's protocol."""

PRESETS: Mapping[str, Mapping[str, HparamValue]] = {
    # Single scale, L2-normalised pooled feature, dot product, no training (bob/inventory 3.6).
    "paper": {
        "layer": 0,
        "pooling": "pooled",
        "gem_power": 3.0,
        "normalisation": "l2",
        "distance": "dot",
        "query_expansion": 0,
        "expansion_power": 3.0,
        "rerank_neighbours": 0,
        "scales": "single",
    },
}

# Features were of one scale before there was a choice.
ADDED_LATER: Mapping[str, HparamValue] = {"scales": "single"}

RETRIEVAL_OBJECTIVE = "map"

PAPER_DATASETS: Mapping[str, str] = {
    row.name: row.queries.shares for row in PAPER_ROWS if row.queries is not None
}
"""Dataset of the paper → what a query and its positives share: a category or an instance."""
