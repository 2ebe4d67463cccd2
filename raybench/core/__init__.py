"""What every layer speaks: records, errors, registries. Read records.py first."""
