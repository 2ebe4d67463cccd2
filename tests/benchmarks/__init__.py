"""Benchmarks against bare loops and other tools: `python -m tests.benchmarks`. They are not tests."""
