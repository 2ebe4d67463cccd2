"""What an experiment keeps: measurements, predictions, the ledger of trials, artifacts, inference costs."""
