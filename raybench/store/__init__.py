"""Results in a storage: measurements, predictions, trial records, artifacts, inference costs."""
