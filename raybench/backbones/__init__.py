"""timm and checkpoint files → frozen feature extractors that normalise inside."""
