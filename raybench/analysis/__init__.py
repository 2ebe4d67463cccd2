"""Frames → frames, in Polars: scores, z-scores and ranks. Nothing here reads a file or a clock."""
