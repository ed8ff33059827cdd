"""Debian's Chromium, without a screen and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Watched:
    """A page of a browser, and what it said and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        """Errors and warnings of the console, and errors that no script has caught."""
        self.requests: list[str] = []
        """Addresses that were asked for, without the page's own."""
        page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(m.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "request", lambda r: self.requests.append(r.url) if r.url.split("#")[0] != self._own else None
        )
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}") or dialog.dismiss())
        self._own = ""

    def visit(self, path: Path) -> None:
        """Opens a file."""
        self._goto(path.absolute().as_uri())

    def open(self, path: Path, address: str = "") -> float:
        """Opens a file. Returns the milliseconds until its first problem is on the screen, by the page's own
        clock."""
        return self.go(path.absolute().as_uri(), address)

    def go(self, own: str, address: str = "") -> float:
        """Opens a page by its own address, as ``open`` does."""
        self._goto(own, address)
        self.page.wait_for_selector("html[data-opened]", state="attached")
        return float(self.page.get_attribute("html", "data-opened"))

    def _goto(self, own: str, address: str = "") -> None:
        self._own = own
        self.page.goto(f"{own}{address}")


@contextmanager
def browsed(width: int = 1280, height: int = 900, **options: Any) -> Iterator[Watched]:
    """Yields a page of this size in pixels."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*ARGUMENTS])
        try:
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            yield Watched(context.new_page())
        finally:
            browser.close()
