"""Example plug-in: rows in `rows.py`, one module per implementation."""
