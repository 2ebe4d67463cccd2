"""Frames for rankings and reports, gathered from storages, tables and MLflow."""
