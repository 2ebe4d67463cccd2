"""What a final trial leaves beside its measurements: classifier, evaluators' curves, values per query.

STORAGE/classifiers/<experiment>/<trial>.safetensors          weights only, no code
STORAGE/curves/<experiment>/<trial>.<evaluator>.json          rows of each figure, and warnings
STORAGE/per_query/<experiment>/<trial>.npz                    one value per query and metric
"""

import json
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raybench.core.errors import StorageError
from raybench.core.records import Split
from raybench.store import layout
from raybench.store.files import StoragePath, glob_sorted, open_binary, read_bytes, remove, write_atomic

if TYPE_CHECKING:
    import numpy as np
    import torch


def write_classifier(
    storage: StoragePath, experiment: str, trial_id: str, state: "Mapping[str, torch.Tensor]"
) -> None:
    """Keep a classifier's tensors as safetensors, whole or not at all."""
    from safetensors.torch import save  # Deferred: it loads torch.

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    write_atomic(layout.classifier_file(storage, experiment, trial_id), lambda file: file.write(content))


def read_classifier(storage: StoragePath, experiment: str, trial_id: str) -> "dict[str, torch.Tensor] | None":
    """The tensors, on the CPU; None if none are kept or the file is damaged (the trial is fitted again)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open_binary(layout.classifier_file(storage, experiment, trial_id)) as file:
            return load_file(file.name)
    except (OSError, SafetensorError):
        return None


def write_curves(
    storage: StoragePath,
    experiment: str,
    trial_id: str,
    evaluator: str,
    curves: Mapping[str, Any],
    warnings: tuple[str, ...],
) -> None:
    """Keep the rows of an evaluator's figures, if it has any figure or warning."""
    if not curves and not warnings:
        return
    content = json.dumps({"curves": curves, "warnings": warnings}, indent=1).encode()
    path = layout.curves_file(storage, experiment, trial_id, evaluator)
    write_atomic(path, lambda file: file.write(content))


def read_curves(storage: StoragePath, experiment: str, trial_id: str, evaluator: str) -> dict[str, Any]:
    """`{"curves": {figure: [row, ...]}, "warnings": [...]}`; both empty if there are none.

    Raises:
        StorageError: if the file is there but cannot be read.
    """
    path = layout.curves_file(storage, experiment, trial_id, evaluator)
    try:
        content = json.loads(read_bytes(path))
    except FileNotFoundError:
        return {"curves": {}, "warnings": []}
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}.") from error
    return dict(content)


def write_per_query(
    storage: StoragePath,
    experiment: str,
    trial_id: str,
    per_query: "Mapping[Split, Mapping[str, np.ndarray]]",
) -> None:
    """Keep values per query as arrays named `split/metric`."""
    import numpy as np

    arrays: dict[str, Any] = {
        f"{split}/{metric}": values for split, found in per_query.items() for metric, values in found.items()
    }
    path = layout.per_query_file(storage, experiment, trial_id)
    write_atomic(path, lambda file: np.savez(file, **arrays))


def per_query_of(
    storage: StoragePath, experiment: str, trial_id: str, split: Split, metric: str
) -> "np.ndarray | None":
    """One value per query, NaN where a query has no positive, shape [q]; None if none were kept.

    Raises:
        StorageError: if the file is there but cannot be read.
    """
    path = layout.per_query_file(storage, experiment, trial_id)
    import numpy as np

    try:
        with open_binary(path) as file, np.load(file, allow_pickle=False) as kept:
            name = f"{split}/{metric}"
            return np.asarray(kept[name], dtype=np.float64) if name in kept else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}.") from error


def withdraw(storage: StoragePath, experiment: str, trial_id: str) -> None:
    """Remove all that `trial_id` left.

    Raises:
        StorageError: if a file cannot be removed.
    """
    files = [
        layout.classifier_file(storage, experiment, trial_id),
        layout.per_query_file(storage, experiment, trial_id),
        *glob_sorted(layout.curves_dir(storage, experiment), f"{trial_id}.*.json"),
    ]
    for file in files:
        try:
            remove(file)
        except OSError as error:
            raise StorageError(f"cannot remove {str(file)!r}: {error.strerror or error}.") from error
