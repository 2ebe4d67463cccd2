"""Shorten KubeRay's CRDs to their `v1` schemas without descriptions (2.3 MB become 22 kB).

    python tests/infra/crds/shorten.py ray.io_rayclusters.yaml ray.io_rayjobs.yaml

The inputs are config/crd/bases of github.com/ray-project/kuberay at tag v1.7.0 (Apache-2.0).
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml


def without_descriptions(schema: Any) -> Any:
    """The schema without its texts; a property that is called `description` stays."""
    if isinstance(schema, list):
        return [without_descriptions(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: without_descriptions(field) for name, field in value.items()}
        if key == "properties"
        else without_descriptions(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


def shorten(path: Path) -> None:
    """Write `KIND.json.gz` beside this script."""
    definition = yaml.safe_load(path.read_text())["spec"]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in definition["versions"] if v["name"] == "v1"]
    text = json.dumps(without_descriptions(schema), separators=(",", ":"))
    target = Path(__file__).with_name(f"{definition['names']['kind']}.json.gz")
    target.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        shorten(Path(name))
