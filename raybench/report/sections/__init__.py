"""Sections of the report, each of which answers one question."""
