"""Artifacts of a final trial: the classifier's weights, evaluators' curves, metric values per query."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raybench.core.errors import StorageError
from raybench.core.records import Split
from raybench.store import layout
from raybench.store.files import StoragePath, open_binary
from raybench.store.result_files import checksums_of_trial, read_result, write_result

if TYPE_CHECKING:
    import numpy as np
    import torch


def write_classifier(
    storage: StoragePath, experiment: str, trial_id: str, state: "Mapping[str, torch.Tensor]"
) -> dict[str, str]:
    """Write a classifier's weights as safetensors, which hold no code; return the file's checksum."""
    from safetensors.torch import save  # Deferred: it loads torch.

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    return write_result(layout.classifier_file(storage, experiment, trial_id), content)


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
) -> dict[str, str]:
    """Write the rows of an evaluator's figures and its warnings, if any; return the file's checksum."""
    if not curves and not warnings:
        return {}
    content = json.dumps({"curves": curves, "warnings": warnings}, indent=1).encode()
    return write_result(layout.curves_file(storage, experiment, trial_id, evaluator), content)


def read_curves(storage: StoragePath, experiment: str, trial_id: str, evaluator: str) -> dict[str, Any]:
    """`{"curves": {figure: [row, ...]}, "warnings": [...]}`; both empty if nothing was written.

    Raises:
        StorageError: if the file cannot be read, or is not as the trial wrote it.
    """
    path = layout.curves_file(storage, experiment, trial_id, evaluator)
    try:
        content = json.loads(read_result(path, checksums_of_trial(storage, experiment, trial_id)))
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
) -> dict[str, str]:
    """Write values per query as arrays named `split/metric`; return the file's checksum."""
    import numpy as np

    arrays: dict[str, Any] = {
        f"{split}/{metric}": values
        for split, by_metric in per_query.items()
        for metric, values in by_metric.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return write_result(layout.per_query_file(storage, experiment, trial_id), buffer.getvalue())


def per_query_of(
    storage: StoragePath, experiment: str, trial_id: str, split: Split, metric: str
) -> "np.ndarray | None":
    """One value per query, NaN where a query has no positive, shape [q]; None if none were written.

    Raises:
        StorageError: if the file cannot be read, or is not as the trial wrote it.
    """
    import numpy as np

    path = layout.per_query_file(storage, experiment, trial_id)
    try:
        content = read_result(path, checksums_of_trial(storage, experiment, trial_id))
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            name = f"{split}/{metric}"
            return np.asarray(arrays[name], dtype=np.float64) if name in arrays else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}.") from error
