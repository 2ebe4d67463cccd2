"""Errors that raybench raises on purpose.

RaybenchError
├── SpecError                  the experiment file is wrong             (the user can fix it)
├── UnknownNameError           a name is not in its registry            (the user can fix it)
├── PluginError                an installed plug-in cannot be loaded    (the user can fix it)
├── DataError                  a dataset cannot be read as described    (the user can fix it)
│   └── UnreadableImageError   one image cannot be decoded; it is named
├── CheckpointError            weights do not fit or cannot be read     (the user can fix it)
├── ResourceError              the cluster can never run a trial        (the user can fix it)
├── StorageError               the storage cannot be written or read    (the user can fix it)
│   ├── StorageUnavailableError  full or unreachable; rerun the same command to resume
│   └── DamagedResultError     a results file is missing or not as it was written; `raybench run` mends it
├── TrackingError              the tracking server refuses or is absent (the user can fix it)
├── SplitLockedError           the test split was requested during a search
├── EmptyInputError            nothing to measure
├── NonFiniteMeasurementError  a measurement is NaN or infinite
├── OutOfBoundsError           a measurement lies outside its metric's bounds
├── DuplicateMeasurementError  two measurements share one identity
├── DivergedError              training produced a loss that is NaN or infinite
└── MissingMeasurementError    a ranking needs a measurement that is missing

Anything else that escapes is a bug in raybench: report it with the trial's record.
"""


class RaybenchError(Exception):
    """Base of all errors raised on purpose; caught at the command line and nowhere else."""


class SpecError(RaybenchError):
    """The experiment file is wrong. Carries every problem found, not only the first."""

    def __init__(self, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        heading = f"{path}: {len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n  ".join([heading, *problems]))

    def __reduce__(self) -> tuple[type["SpecError"], tuple[str, list[str]]]:
        return type(self), (self.path, self.problems)


class UnknownNameError(RaybenchError, KeyError):
    """A name is not in its registry. A KeyError, so that `in` and `.get` work on registries."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError's own __str__ prints the repr: a sentence in quotes.


class PluginError(RaybenchError):
    """A package that adds catalogue rows cannot be loaded, or adds a name that is taken."""


class DataError(RaybenchError):
    """A dataset cannot be read as described: missing folder, empty class, wrong column."""


class UnreadableImageError(DataError):
    """One image cannot be decoded; the message names it."""


class CheckpointError(RaybenchError):
    """Weights cannot be read, are not weights, or do not fit the architecture."""


class ResourceError(RaybenchError):
    """A trial asks for more than any node of the cluster has."""


class StorageError(RaybenchError):
    """The storage folder cannot be written or read."""


class StorageUnavailableError(StorageError):
    """The storage is full or unreachable. The run stops; no trial fails; the same command resumes it."""


class DamagedResultError(StorageError):
    """A results file or trial record is missing, or not as it was written; the message names it."""


class TrackingError(RaybenchError):
    """The tracking server cannot be reached or refuses."""


class SplitLockedError(RaybenchError):
    """The test split was requested while hyperparameters were still being chosen."""


class EmptyInputError(RaybenchError, ValueError):
    """A metric was given nothing to measure."""


class NonFiniteMeasurementError(RaybenchError, ValueError):
    """A measurement is NaN or infinite."""


class OutOfBoundsError(RaybenchError, ValueError):
    """A measurement lies outside the bounds of its metric."""


class DuplicateMeasurementError(RaybenchError):
    """Two measurements share one identity."""


class DivergedError(RaybenchError):
    """Training produced a loss that is NaN or infinite."""


class MissingMeasurementError(RaybenchError):
    """A ranking needs a measurement that is missing from the table."""
