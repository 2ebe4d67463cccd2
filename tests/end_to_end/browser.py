"""Headless Chromium, driven over its debugging protocol: open a page, read what it shows, photograph it."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.end_to_end.ray_nodes import kill_tree

START_SECONDS = 60
SHOWN_SECONDS = 90
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    "--disable-features=IsolateSandboxedIframes",  # MLflow shows HTML in one, and it would be out of reach.
)
TEXT = "document.body ? document.body.innerText : ''"


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def open(self, address: str, *texts: str, photograph: Path | None = None) -> str:
        """Open a page and wait until it shows all the texts; what it shows then.

        Args:
            photograph: where a picture of it goes (PNG), also if the texts never appear.
        """
        self.call("Page.navigate", url="about:blank")  # Else another #fragment keeps the old page.
        self.call("Page.navigate", url=address)
        give_up = time.monotonic() + SHOWN_SECONDS
        shown = ""
        while not all(text in shown for text in texts) and time.monotonic() < give_up:
            time.sleep(0.3)
            shown = self.shown()
        if photograph is not None:
            time.sleep(1.5)  # Drawings move into place.
            picture = self.call("Page.captureScreenshot", format="png")["data"]
            photograph.write_bytes(base64.b64decode(picture))
        missing = [text for text in texts if text not in shown]
        assert not missing, f"{address} does not show {missing}, but:\n{shown}"
        return shown

    def shown(self) -> str:
        """The text that a person sees, drawings and frames included."""
        shown = [self.run(TEXT)]
        for child in self.call("Page.getFrameTree")["frameTree"].get("childFrames", []):
            world = self.call("Page.createIsolatedWorld", frameId=child["frame"]["id"])["executionContextId"]
            shown.append(self.run(TEXT, contextId=world))
        return "\n".join(shown)

    def run(self, expression: str, **where: object) -> str:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, **where)
        return str(answer["result"].get("value", ""))

    def call(self, method: str, **parameters: object) -> dict:
        """One command of the protocol; events on the way are dropped."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=60))).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A browser window of 1500 × 900; the test is skipped where Chromium is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (Debian's package is `chromium`)")
    profile = Path(tempfile.mkdtemp(prefix="chromium"))
    process = subprocess.Popen(
        [
            program,
            *FLAGS,
            "--window-size=1500,900",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said = profile / "DevToolsActivePort"
        give_up = time.monotonic() + START_SECONDS
        while not (said.exists() and said.read_text().count("\n")):
            assert process.poll() is None, "Chromium has ended"
            assert time.monotonic() < give_up, "Chromium does not answer"
            time.sleep(0.1)
        port = said.read_text().split()[0]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        with connect(address, max_size=None) as connection:
            yield Page(connection)
    finally:
        kill_tree(process)
        shutil.rmtree(profile, ignore_errors=True)
