"""Artifacts of a final trial: the classifier's weights, evaluators' curves, metric values per query."""

import json
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raybench.core.errors import StorageError
from raybench.core.records import Split
from raybench.store import layout
from raybench.store.files import StoragePath, open_binary, read_bytes, write_atomic

if TYPE_CHECKING:
    import numpy as np
    import torch


def write_classifier(
    storage: StoragePath, experiment: str, trial_id: str, state: "Mapping[str, torch.Tensor]"
) -> None:
    """Write a classifier's weights as safetensors, which hold no code."""
    from safetensors.torch import save  # Deferred: it loads torch.

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    write_atomic(layout.classifier_file(storage, experiment, trial_id), lambda file: file.write(content))


def read_classifier(storage: StoragePath, experiment: str, trial_id: str) -> "dict[str, torch.Tensor] | None":
    """The weights, on the CPU; None if the file is missing or damaged, so that the trial is fitted again."""
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
    """Write the rows of an evaluator's figures and its warnings, if there are any."""
    if not curves and not warnings:
        return
    content = json.dumps({"curves": curves, "warnings": warnings}, indent=1).encode()
    path = layout.curves_file(storage, experiment, trial_id, evaluator)
    write_atomic(path, lambda file: file.write(content))


def read_curves(storage: StoragePath, experiment: str, trial_id: str, evaluator: str) -> dict[str, Any]:
    """`{"curves": {figure: [row, ...]}, "warnings": [...]}`; both empty if nothing was written.

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
    """Write values per query as arrays named `split/metric`."""
    import numpy as np

    arrays: dict[str, Any] = {
        f"{split}/{metric}": values
        for split, by_metric in per_query.items()
        for metric, values in by_metric.items()
    }
    path = layout.per_query_file(storage, experiment, trial_id)
    write_atomic(path, lambda file: np.savez(file, **arrays))


def per_query_of(
    storage: StoragePath, experiment: str, trial_id: str, split: Split, metric: str
) -> "np.ndarray | None":
    """One value per query, NaN where a query has no positive, shape [q]; None if none were written.

    Raises:
        StorageError: if the file is there but cannot be read.
    """
    import numpy as np

    path = layout.per_query_file(storage, experiment, trial_id)
    try:
        with open_binary(path) as file, np.load(file, allow_pickle=False) as arrays:
            name = f"{split}/{metric}"
            return np.asarray(arrays[name], dtype=np.float64) if name in arrays else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}.") from error
