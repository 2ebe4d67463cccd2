"""The feature store: frozen features are computed once per backbone and split, and shared by all."""
