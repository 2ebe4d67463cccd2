"""Frames → pages: what a person reads."""
