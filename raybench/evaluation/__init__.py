"""Protocols and evaluators, one file or folder each, and what they share."""
