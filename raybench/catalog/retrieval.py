"""Search space and preset of the protocol `retrieval`."""

from collections.abc import Mapping

from raybench.catalog.search_spaces import Choice, Limits, PackedGrids, SearchSpace
from raybench.core.records import HparamValue

POOLINGS = ("pooled", "cls", "mean", "gem", "max")
GEM_POWERS = (2.0, 3.0, 5.0)
EARLIER_LAYERS = (1,)
SCALES: Mapping[str, tuple[float, ...]] = {
    "single": (1.0,),
    # 1, √2 and 1/√2 of the side, as in revisitop and GeM (Radenović et al., TPAMI 2018).
    "multi": (2**-0.5, 1.0, 2**0.5),
}
"""Name → input sides as multiples of the backbone's own."""

RETRIEVAL: SearchSpace = {
    # 0 is the last layer, 1 the block or stage before it.
    "layer": Choice(options=(0, *EARLIER_LAYERS), default=0),
    "pooling": Choice(options=POOLINGS, default="pooled"),
    # Used by gem only; 3 is the initial value of Radenović et al. (TPAMI 2018).
    "gem_power": Choice(options=GEM_POWERS, default=3.0),
    # Instance retrieval gains most from whitening learnt on train (Jégou & Chum, ECCV 2012).
    "normalisation": Choice(options=("l2", "none", "pca_whiten"), default="l2"),
    "distance": Choice(options=("dot", "cosine", "euclidean"), default="dot"),
    # Neighbours averaged into the query; 0 is none. Weights cosine**3: Radenović et al., TPAMI 2018.
    "query_expansion": Choice(options=(0, 1, 3, 10), default=0),
    "expansion_power": Choice(options=(0.0, 3.0), default=3.0),
    # k1 of k-reciprocal re-ranking; 0 is none, 20 the paper's (Zhong et al., CVPR 2017).
    "rerank_neighbours": Choice(options=(0, 10, 20), default=0),
    # `multi` costs 3.5 times the forward passes of `single`, once per backbone and dataset.
    "scales": Choice(options=tuple(SCALES), default="single"),
}
"""The defaults, which trial 0 takes, are the paper's protocol."""

RETRIEVAL_GRIDS: PackedGrids = {
    # Whitening makes noise of small variance as long as signal, above all with few training images. A search
    # trial tries these numbers of leading directions, as far as the training images span them.
    "pca_whiten": {"whitening_directions": (8, 16, 32, 64, 128, 256, 512, 1024, "all")}
}

RETRIEVAL_LIMITS: Limits = {
    "whitening_directions": (1, 100_000),
    "gem_power": (1.0, 100.0),
    "query_expansion": (0, 1000),
    "expansion_power": (0.0, 100.0),
    "rerank_neighbours": (0, 1000),
}

PRESETS: Mapping[str, Mapping[str, HparamValue]] = {
    # Single scale, L2-normalised pooled feature, dot product, no training (released main_ret.py).
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

ADDED_LATER: Mapping[str, HparamValue] = {"scales": "single"}
"""Hyperparameter that recipes of earlier versions lack → the value they imply."""

RETRIEVAL_OBJECTIVE = "map"
