"""Paths that users write."""

from pathlib import Path

from raybench.core.errors import DataError


def expand_path(text: str, folder: Path = Path()) -> Path:
    """Expand a path that a user wrote; it need not exist, and links are kept.

    Args:
        text: as written; `~` and `~user` are expanded.
        folder: where relative paths start.

    Raises:
        DataError: if there can be no such path: an unknown user, a name that is too long, a folder that may
            not be entered, a loop of links.
    """
    try:
        path = folder / Path(text).expanduser()
        path.resolve().exists()  # Raises where even the question is refused.
    except OSError as error:
        raise DataError(f"path {_short(text)} cannot be used: {error.strerror or error}.") from error
    except (RuntimeError, ValueError) as error:  # No home directory; a loop of links; a null byte.
        reason = "there is no such user" if text.startswith("~") else str(error).rstrip(".")
        raise DataError(f"path {_short(text)} cannot be used: {reason}.") from error
    return path


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:40]}…{text[-30:]}")
