"""Images and targets: sources → hygiene → splits → batches in [0, 1]."""
