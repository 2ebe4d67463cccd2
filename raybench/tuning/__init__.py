"""Ray Tune: one Tuner per experiment, one sampler and one scheduler per pair."""
