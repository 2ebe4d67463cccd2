"""Start Ray, or join the cluster at RAY_ADDRESS, with every failure as one sentence."""

import os
import re
import socket
from typing import Any

from raybench.core.errors import ResourceError

CONNECT_SECONDS = 10.0
ADDRESS_ADVICE = "give the head's `host:port` (6379 by default), or unset it to run on this machine."


def init_ray(**options: Any) -> None:
    """`ray.init`; Ray ends the process (SystemExit) where the head does not answer."""
    import ray

    try:
        ray.init(log_to_driver=False, logging_level="error", **options)
    except (OSError, ValueError, RuntimeError, SystemExit) as error:
        address = os.environ.get("RAY_ADDRESS")
        where = f"no Ray cluster answers at RAY_ADDRESS={address!r}" if address else "Ray cannot be started"
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ResourceError(
            f"{where} ({type(error).__name__}: {reason}); "
            + (ADDRESS_ADVICE if address else "see Ray's logs in /tmp/ray/session_latest/logs.")
        ) from error


def require_reachable(address: str) -> None:
    """Connect to `host:port` first, because Ray itself takes two minutes to give up.

    Raises:
        ResourceError: if nothing answers there within CONNECT_SECONDS.
    """
    match = re.fullmatch(r"(?:ray://)?\[?([^/\[\]]+?)\]?:(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        if address in ("auto", "local"):
            return
        raise ResourceError(f"RAY_ADDRESS={address!r} is no address; {ADDRESS_ADVICE}")
    try:
        socket.create_connection((match[1], int(match[2])), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ResourceError(
            f"no Ray cluster answers at RAY_ADDRESS={address!r} ({error.strerror or error}); {ADDRESS_ADVICE}"
        ) from error
