"""raybench: which pretrained vision backbone should I use? Tuned fairly, measured honestly, ranked with doubt."""

__version__ = "0.1.0"
