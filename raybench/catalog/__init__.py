"""Torch-free tables of what raybench knows by name."""
