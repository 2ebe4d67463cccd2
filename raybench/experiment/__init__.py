"""Run an experiment: plan minus ledger, tuning, tracking, recipes. Only this package combines them."""
