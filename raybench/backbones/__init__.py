"""Pretrained networks up to their features: the only part of raybench that imports timm."""
