"""Changes to pixels: augmentations (kornia), ImageNet-C corruptions, adversarial attacks (foolbox; APGD)."""

import os

# foolbox imports GitPython, whose import fails where no git is installed, unless this variable is set. In an
# image without git every trial would fail; nothing here uses git.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
