"""raybench: which pretrained vision backbone should I use? Tuned fairly, measured honestly, ranked."""

__version__ = "0.1.0"
