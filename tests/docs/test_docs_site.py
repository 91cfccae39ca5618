"""The site as it is built: strictly, from nothing but its own files, and as a reader's browser shows it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import Browser, open_browser
from tests.docs.markdown_blocks import REPOSITORY

_EXTERNAL = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def test_pages_ask_for_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    assert {page.name: found for page in pages if (found := _EXTERNAL.findall(page.read_text()))} == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_picture_is_shown(browser: Browser, address: str, dark: bool) -> None:
    with browser.window(dark=dark) as window:
        window.open(f"{address}/concepts.html")
        picture = window.wait_for("img[alt=Architecture]")
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 500
        scheme = window.page.evaluate("document.body.dataset.mdColorScheme")
        assert scheme == ("slate" if dark else "default")
        assert window.complaints == []


def test_the_search_finds_a_field_of_the_configuration(browser: Browser, address: str) -> None:
    with browser.window() as window:
        window.open(f"{address}/index.html")
        window.page.fill("input.md-search__input", "reference_sync_share")
        # The page reads what was written when a key is released; to fill a field presses none.
        window.page.press("input.md-search__input", "End")
        # The page makes the index of all pages first, which takes a busy machine long.
        window.wait_for(".md-search-result__link[href*='configuration.html']", seconds=90.0)
        assert window.complaints == []


def test_no_page_complains_or_scrolls_sideways_on_a_telephone(browser: Browser, address: str, site: Path) -> None:
    with browser.window(width=390, height=800) as window:
        for page in sorted(site.glob("*.html")):
            if page.name == "404.html":  # its addresses begin at the root of a site
                continue
            window.open(f"{address}/{page.name}")
            window.wait_for("article h1")
            assert not window.scrolls_sideways(), page.name
        # Going on to the next page ends what this one still loads.
        assert [said for said in window.complaints if not said.endswith("net::ERR_ABORTED")] == []
