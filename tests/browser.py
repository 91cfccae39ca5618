"""A headless Chromium for tests that look at pages.

    @pytest.fixture(scope="module")
    def browser() -> Iterator[Browser]:
        with open_browser() as opened:
            yield opened

    def test_page(browser: Browser) -> None:
        with browser.window(width=1400, height=900, dark=False) as window:
            window.open("http://127.0.0.1:8265/#/jobs")       # or a Path, or a file:// address
            window.wait_for("table tbody tr", seconds=20)     # until it is visible
            assert window.complaints == []                    # errors of console and page, failed requests
            window.page                                       # Playwright's Page, for all else: click, evaluate, …

A window starts without cookies or cache. The browser reaches loopback addresses only, so a page that needs
anything else complains. Close the browser within the module: while it is open, the thread has a running event loop
and ``asyncio.run`` fails. Needs ``playwright`` (pip) and a Chromium (Debian: ``chromium fonts-dejavu-core``);
where one is missing, tests skip, or fail if the environment has CI=true.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import ConsoleMessage, Locator, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*, EXCLUDE localhost"


class Window:
    """One page. ``complaints`` holds everything that went wrong in it so far, in words."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("requestfailed", lambda r: self.complaints.append(f"request failed: {r.url}: {r.failure}"))
        page.on("response", lambda r: self.complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)

    def open(self, target: str | Path) -> None:
        """Go to an address or a file and wait until it is loaded."""
        self.page.goto(target.resolve().as_uri() if isinstance(target, Path) else target, wait_until="load")

    def wait_for(self, selector: str, seconds: float = 15.0) -> Locator:
        """Wait until something that matches ``selector`` is visible; a TimeoutError of Playwright names it."""
        found = self.page.locator(selector).first
        found.wait_for(state="visible", timeout=seconds * 1000)
        return found

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")


class Browser:
    """A running Chromium."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium

    @contextmanager
    def window(self, *, width: int = 1400, height: int = 900, dark: bool = False) -> Iterator[Window]:
        """A window of its own; ``dark`` is what the page hears of the reader's colour scheme."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(15_000)
        with context:
            yield Window(context.new_page())


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium for the length of the context; skips or fails the test where there is none."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        _missing("no Chromium on the PATH: apt-get install --no-install-recommends chromium fonts-dejavu-core")
    if find_spec("playwright") is None:
        _missing("playwright is not installed: pip install 'couplet-rl[dev]'")
    from playwright.sync_api import sync_playwright

    # As root, as in most containers, Chromium starts only without its own sandbox.
    arguments = [_LOOPBACK_ONLY, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=arguments)
        with chromium:
            yield Browser(chromium)


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
