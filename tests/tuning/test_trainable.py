"""The trainable beside Tune's own class."""

import ast
from pathlib import Path

from ray import tune

from raybench.tuning import trainable


def test_it_replaces_no_attribute_of_tunes_own_instances():
    """`_storage` once did: every trial then ended in an error after its step, and ran a second time."""
    tree = ast.parse(Path(trainable.__file__).read_text(encoding="utf-8"))
    assigned = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    assert {"_request", "_trial"} <= assigned
    assert not assigned & {*dir(tune.Trainable), *vars(tune.Trainable())}
