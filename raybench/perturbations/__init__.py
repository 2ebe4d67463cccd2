"""What is done to pixels: augmentations (the kornia door), corruptions and attacks."""

import os

# foolbox imports GitPython, whose import fails where no git is installed, unless told to be quiet. In an
# image without git every trial would die of it; nothing here asks git for anything.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
