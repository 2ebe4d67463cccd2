"""Install a project as pip would, into a folder: its package and the metadata that names its entry points."""

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parent / "example"


def install(project: Path, site: Path, **changes: str) -> None:
    """Copy the packages of `project` into `site` and write the `dist-info` folder of its `pyproject.toml`.

    Args:
        changes: other values of the `[project]` table, e.g. `name`.
    """
    metadata = {**tomllib.loads((project / "pyproject.toml").read_text())["project"], **changes}
    for package in project.glob("*/__init__.py"):
        shutil.copytree(package.parent, site / package.parent.name, dirs_exist_ok=True)
    write_distribution(site, metadata["name"], metadata["version"], metadata["entry-points"])


def write_distribution(site: Path, name: str, version: str, entry_points: dict[str, dict[str, str]]) -> None:
    """Write the metadata of a distribution whose modules lie in `site`."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in entry_points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), "")
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))
