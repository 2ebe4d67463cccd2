"""Records, errors and registries, which every layer uses. Read records.py first."""
