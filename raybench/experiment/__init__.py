"""Run an experiment: plan minus ledger, tuning, tracking, recipes. The only place where the doors meet."""
