"""Does a tracking server answer? A question for `raybench doctor`, asked without loading MLflow."""

import urllib.error
import urllib.request

from raybench.core.errors import TrackingError
from raybench.tracking.address import is_server, sqlite_file, without_credentials

TIMEOUT_SECONDS = 5.0


def probe(uri: str) -> str:
    """What was found at the tracking URI, in words.

    Raises:
        TrackingError: if a server does not answer or refuses.
    """
    shown = without_credentials(uri)
    if not is_server(uri):
        file = sqlite_file(uri)
        return f"{shown}{'' if file is None or file.exists() else ' (created by the first run)'}"
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - is_server() admits http and https only.
            return f"{shown} answers, MLflow {answer.read(50).decode(errors='replace').strip()}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise TrackingError(
            f"MLflow at {shown} does not answer: {without_credentials(str(error))}; "
            "start it, or leave out the URI."
        ) from None
