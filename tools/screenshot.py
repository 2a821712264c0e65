"""Pictures of an HTML report as a browser shows it: wide and narrow, light and dark, and on paper.

    python tools/screenshot.py report.html shots/

Needs playwright and a Chromium, neither of which fwplan depends on: `pip install playwright` and either
`playwright install chromium` or a chromium of the system. Fails where the page asks for anything but itself, says
something on its console, or is wider than the window.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")


def shoot(browser: Browser, page_path: Path, folder: Path) -> list[str]:
    """Take the pictures and return what was wrong with the page."""
    wrong: list[str] = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: wrong.append(f"console: {message.text}"))
            page.on("request", lambda request: wrong.extend(_strange(request.url, page_path)))
            page.goto(page_path.as_uri())
            scrolled = page.evaluate("document.documentElement.scrollWidth")
            if scrolled > width:
                wrong.append(f"{scrolled} pixels wide in a window of {width}")
            page.screenshot(path=folder / f"{page_path.stem}-{width}-{scheme}.png", full_page=True)
            page.close()
    page = browser.new_page()
    page.goto(page_path.as_uri())
    page.pdf(path=folder / f"{page_path.stem}.pdf", format="A4", print_background=True)
    return wrong


def _strange(url: str, page_path: Path) -> list[str]:
    return [] if url == page_path.as_uri() else [f"asked for {url}"]


def main() -> int:
    """Shoot the page named first into the folder named second."""
    page_path, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        wrong = shoot(browser, page_path, folder)
        browser.close()
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
