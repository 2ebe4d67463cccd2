"""Ratios against bare loops and other tools: `python -m tests.benchmarks`. Nothing here is a test."""
