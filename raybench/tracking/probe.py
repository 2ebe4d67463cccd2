"""Check that a tracking server answers, without loading MLflow (for `raybench doctor`)."""

import re
import urllib.error
import urllib.request

from raybench.core.errors import TrackingError
from raybench.tracking.address import is_server, sqlite_file, without_credentials

TIMEOUT_SECONDS = 5.0
_STATUS = re.compile(r"(?:error code|status code|HTTP Error)[: ]*(\d{3})")
_PAGE = re.compile(r"\W*(?:response body\W*)?<\s*(?:!doctype|html|head|body)\b.*", re.IGNORECASE | re.DOTALL)


def without_page(message: str) -> str:
    """An error message without the HTML page that a proxy or server has sent.

    >>> without_page("failed with error code 403 != 200. Response body: '<html><h1>Forbidden</h1></html>'")
    'failed with error code 403 != 200'
    """
    return _PAGE.sub("", message)


def advice(message: str) -> str:
    """What to do about a server's error message.

    >>> advice("HTTP Error 403: Forbidden")[:29]
    'it refuses these credentials:'
    """
    status = int(found[1]) if (found := _STATUS.search(message)) else 0
    if status in (401, 403):
        return (
            "it refuses these credentials: check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )
    if status:
        return "something answers there: check that the address is that of an MLflow server"
    return "start it"


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
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # It holds the connection.
        raise TrackingError(
            f"MLflow at {public_uri} cannot be used: {without_credentials(str(error))}; "
            f"{advice(str(error))}, or leave out the URI."
        ) from None
