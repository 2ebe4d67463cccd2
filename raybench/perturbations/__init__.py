"""What is done to pixels: augmentations (the kornia door), corruptions and attacks."""
