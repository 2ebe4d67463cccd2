"""Headless Chromium through playwright: open a page and read the text that it shows."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

SHOWN_SECONDS = 90
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; skips the test where it is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (Debian's package is `chromium`)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def open_page(page: Page, address: str, *texts: str, screenshot: Path | None = None) -> str:
    """Open `address`, wait until it shows all `texts`, and return all visible text, frames included.

    Args:
        screenshot: PNG to write, also where a text never appears.
    """
    page.goto("about:blank")  # Without it an address that differs in its #fragment only does not reload.
    page.goto(address)
    deadline = time.monotonic() + SHOWN_SECONDS
    text = _visible_text(page)
    while not all(expected in text for expected in texts) and time.monotonic() < deadline:
        page.wait_for_timeout(300)
        text = _visible_text(page)
    if screenshot is not None:
        page.wait_for_timeout(1500)  # Charts are animated.
        page.screenshot(path=screenshot)
    missing = [expected for expected in texts if expected not in text]
    assert not missing, f"{address} does not show {missing}, but:\n{text}"
    return text


def _visible_text(page: Page) -> str:
    texts = []
    for frame in page.frames:
        with contextlib.suppress(Error):  # A frame may be replaced while it is read.
            texts.append(frame.evaluate("document.body ? document.body.innerText : ''"))
    return "\n".join(texts)
