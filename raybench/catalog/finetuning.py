"""Further hyperparameters of the protocol `finetune`, and the paper's recipe.

Where a spec names none of them, training is what it was before they existed, to the last bit.
"""

from collections.abc import Mapping

from raybench.catalog.search_spaces import FINETUNE_MINIBATCH, Choice, Float, Int, Limits, SearchSpace
from raybench.core.records import Hparams

HEAD_INITS = ("small", "xavier", "linear_probe")

# Read by fine-tuning, but searched only where a spec's `spaces` ask for it.
FINETUNE_OPTIONAL: SearchSpace = {
    # Images per optimiser step; learning rates are those of this batch, whatever the micro-batch.
    "batch_size": Choice(options=(16, 32, 64, 128), default=FINETUNE_MINIBATCH),
    # Images per forward pass, whose gradients are summed; 0: the whole batch, or what fits into memory.
    "micro_batch": Int(low=0, high=128, default=0),
    "epochs": Int(low=5, high=100, default=100),
    # Optimiser steps after which training ends, if that is before its last epoch; 0: epochs only.
    "steps": Int(low=0, high=10_000, default=0),
    # A tenth of all steps where no hyperparameter says otherwise; the paper has 5 or 10 of 100 epochs.
    "warmup_epochs": Float(low=0.0, high=20.0, default=10.0),
    # Learning rate at the start and at the end, as a share of `lr`.
    "warmup_start": Float(low=0.0, high=0.5, default=0.0),
    "lr_floor": Float(low=0.0, high=0.1, default=0.0),
    # Learning rate of the head as a multiple of `lr`.
    "head_lr": Float(low=1.0, high=100.0, log=True, default=1.0),
    # `small`: normal with deviation 0.01. `linear_probe`: logistic regression on the stored features, chosen
    # on val (LP-FT, Kumar et al., ICLR 2022).
    "head_init": Choice(options=HEAD_INITS, default="small"),
    # Keep the pretrained statistics of batch norms instead of estimating them anew.
    "freeze_batch_stats": Choice(options=(False, True), default=False),
    # Largest norm of a step's gradient; 0: not clipped. Swin's recipe has 5.
    "clip_norm": Float(low=0.0, high=10.0, default=5.0),
    # Decay of the moving average of weights, which is then measured and kept; 0: no average.
    "ema": Float(low=0.0, high=0.9999, default=0.0),
    "label_smoothing": Float(low=0.0, high=0.3, default=0.1),
    # Smallest share of the image's area that a random crop keeps; 0.08 in ImageNet recipes.
    "min_crop": Float(low=0.08, high=1.0, default=0.5),
    # Resize each crop bilinearly or bicubically, at random; bilinearly otherwise.
    "random_interpolation": Choice(options=(False, True), default=False),
    # Off by default: mirrored digits are other digits.
    "flip": Choice(options=(False, True), default=False),
    "color_jitter": Float(low=0.0, high=0.4, default=0.0),
    # Operations per image, each applied with probability 0.5; timm's default is 2.
    "rand_augment_layers": Int(low=0, high=3, default=0),
    "rand_augment_magnitude": Float(low=3.0, high=10.0, default=9.0),
    "rand_augment_std": Float(low=0.0, high=1.0, default=0.5),
    # Probability of erasing a box of each image.
    "erasing": Float(low=0.0, high=0.5, default=0.0),
    # α of Beta(α, α); 0: off. `cutmix_share` is the probability of CutMix where both are on.
    "mixup": Float(low=0.0, high=1.0, default=0.0),
    "cutmix": Float(low=0.0, high=1.0, default=0.0),
    "cutmix_share": Float(low=0.0, high=1.0, default=0.5),
    "mix_probability": Float(low=0.0, high=1.0, default=1.0),
}

FINETUNE_LIMITS: Limits = {
    "lr": (1e-10, 10.0),
    "weight_decay": (0.0, 10.0),
    "layer_decay": (0.01, 1.0),
    "drop_path": (0.0, 0.9),
    "batch_size": (1, 2**16),
    "micro_batch": (0, 2**16),
    "epochs": (1, 10_000),
    "steps": (0, 10**8),
    "warmup_epochs": (0.0, 10_000),
    "warmup_start": (0.0, 1.0),
    "lr_floor": (0.0, 1.0),
    "head_lr": (1e-3, 1e4),
    "clip_norm": (0.0, 1e6),
    "ema": (0.0, 0.999999),
    "label_smoothing": (0.0, 0.9),
    "min_crop": (0.01, 1.0),
    "color_jitter": (0.0, 1.0),
    "rand_augment_layers": (0, 15),
    "rand_augment_magnitude": (0.0, 10.0),
    "rand_augment_std": (0.0, 10.0),
    "erasing": (0.0, 1.0),
    "mixup": (0.0, 100.0),
    "cutmix": (0.0, 100.0),
    "cutmix_share": (0.0, 1.0),
    "mix_probability": (0.0, 1.0),
}

FINETUNE_PRESETS: Mapping[str, Hparams] = {
    # Goldblum et al. 2023, released train.py and 24 of the 29 configs of bob-classification; see
    # experiments/finetune_paper.yaml for what differs.
    "paper": {
        "lr": 1e-3,
        "weight_decay": 0.05,
        "layer_decay": 0.75,
        "drop_path": 0.1,
        "batch_size": 1024,
        "micro_batch": 128,
        "epochs": 100,
        "warmup_epochs": 5.0,
        "warmup_start": 0.1,  # `warmup_lr` 1e-4 of 1e-3.
        "lr_floor": 1e-3,  # `min_lr` 1e-6 of 1e-3.
        "head_init": "xavier",
        "clip_norm": 0.0,
        "label_smoothing": 0.1,
        "min_crop": 0.08,
        "random_interpolation": True,
        "flip": True,
        "color_jitter": 0.0,  # The configs have 0.4, which timm ignores beside RandAugment.
        "rand_augment_layers": 2,
        "rand_augment_magnitude": 9.0,
        "rand_augment_std": 0.5,
        "erasing": 0.25,
        "mixup": 0.8,
        "cutmix": 1.0,
        "cutmix_share": 0.5,
        "mix_probability": 1.0,
    },
}
