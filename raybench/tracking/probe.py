"""Check that a tracking server answers, without loading MLflow (for `raybench doctor`)."""

import urllib.error
import urllib.request

from raybench.core.errors import TrackingError
from raybench.tracking.address import is_server, sqlite_file, without_credentials

TIMEOUT_SECONDS = 5.0


def probe(uri: str) -> str:
    """Describe what answers at the tracking URI.

    Raises:
        TrackingError: if a server does not answer or answers with an error.
    """
    public_uri = without_credentials(uri)
    if not is_server(uri):
        file = sqlite_file(uri)
        return f"{public_uri}{'' if file is None or file.exists() else ' (created by the first run)'}"
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - is_server() admits http and https only.
            return f"{public_uri} answers, MLflow {response.read(50).decode(errors='replace').strip()}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise TrackingError(
            f"MLflow at {public_uri} does not answer: {without_credentials(str(error))}; "
            "start it, or leave out the URI."
        ) from None
