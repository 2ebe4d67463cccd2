"""`raybench list` prints plain rows and imports no heavy library."""

import subprocess
import sys

import pytest

from raybench.catalog.listing import LISTINGS, listing
from raybench.core.errors import UnknownNameError


@pytest.mark.parametrize("kind", LISTINGS)
def test_rows_of_a_kind_have_the_same_columns_and_plain_values(kind):
    rows = listing(kind)
    assert rows
    for row in rows:
        assert row.keys() == rows[0].keys()
        assert all(cell is None or isinstance(cell, str | int | float) for cell in row.values())


def test_an_unknown_kind_is_refused():
    with pytest.raises(UnknownNameError, match="nothing to list called 'backbone'; did you mean 'backbones'"):
        listing("backbone")


def test_listing_and_specs_import_no_heavy_library():
    code = (
        "import sys, raybench.spec\n"
        "from raybench.catalog.listing import LISTINGS\n"
        "for rows in LISTINGS.values(): rows()\n"
        "print([m for m in ('torch', 'timm', 'ray', 'mlflow', 'polars', 'torchvision') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_packed_dimensions_name_the_solvers_that_use_them():
    rows = {row["name"]: row["searched"] for row in listing("spaces") if row["protocol"] == "linear_probe"}
    assert rows["epochs"] == "by Tune"
    assert rows["lr"] == "in one trial (sgd, adamw)"
    assert rows["inverse_l2"] == "in one trial (lbfgs)"
    assert rows["ridge_penalty"] == "in one trial (ridge)"
    assert rows["solver"] == "by Tune; on request ridge"
