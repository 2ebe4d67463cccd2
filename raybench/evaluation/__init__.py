"""One protocol or evaluator per file; `registry.py` lists them."""
