"""Pictures of web pages in a real browser: the report of a comparison, and the page of the streams."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from fgd_yolo.compare.comparison import rewrite_report
from fgd_yolo.errors import FGDError

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / "tests/data/demo.onnx"  # knows the objects of the test scene
STREAMS = {"gate": "test://?size=640x360&seed=3", "yard": "test://?size=640x360&seed=7"}
TIMEOUT_S = 60
_HEIGHT, _MARGIN = 2000, 12  # CSS pixels: of the screen, higher than any picture, and below what is shown
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Screen(NamedTuple):
    """A screen: its width in CSS pixels, the pixels of the picture for each of them, and its colours."""

    width: int
    scale: float
    dark: bool = False


def photograph_report(comparison: Path, screen: Screen) -> bytes:
    """Return a PNG of the report page of a comparison, from its title to its first plot.

    Args:
        comparison: folder with the rows and curves of its runs; nothing is written there.
        screen: screen of the browser.
    """
    with tempfile.TemporaryDirectory() as folder, _browser() as browser:
        copy = shutil.copytree(comparison, Path(folder).resolve() / comparison.name)
        rewrite_report(copy)
        _set_screen(browser, screen)
        browser.get((copy / "report.html").as_uri())
        return _screenshot(browser, down_to="figure")


def photograph_streams(screen: Screen, seconds: float) -> bytes:
    """Run `fgd-yolo stream` on test scenes and return a PNG of its page, from its title to the end of the first card.

    Args:
        screen: screen of the browser.
        seconds: age of the page in the picture; its plots begin when it is opened.
    """
    with _stream_page() as address, _browser() as browser:
        _set_screen(browser, screen)
        browser.get(address)
        up = "return [...document.querySelectorAll('.state')].filter((state) => state.textContent == 'UP').length"
        WebDriverWait(browser, TIMEOUT_S).until(lambda _: browser.execute_script(up) == len(STREAMS))
        time.sleep(seconds)
        return _screenshot(browser, down_to=".card")


@contextmanager
def _stream_page() -> Iterator[str]:
    """Run `fgd-yolo stream` until the block ends, and yield the address of its page."""
    sources = [f"{name}={address}" for name, address in STREAMS.items()]
    command = [sys.executable, ROOT / "deploy/stream.py", "--model", DETECTOR, "--source", *sources]
    command += ["--track", "--web", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("page: "):
                yield line.removeprefix("page: ").strip()
                break
        else:
            raise FGDError(f"the stream command ended without a page: {''.join(lines)}")
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


@contextmanager
def _browser() -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        raise FGDError("pictures of pages need chromium and chromedriver: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as folder:
        for flag in (*_FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        browser = Chrome(options=options, service=Service(driver))
        try:
            yield browser
        finally:
            browser.quit()


def _set_screen(browser: Chrome, screen: Screen) -> None:
    size = {"width": screen.width, "height": _HEIGHT}
    metrics = {**size, "deviceScaleFactor": screen.scale, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    colours = {"name": "prefers-color-scheme", "value": "dark" if screen.dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [colours]})


def _screenshot(browser: Chrome, down_to: str) -> bytes:
    """Return a PNG of the page from its top to the bottom of the first element that a selector finds."""
    code = "return [innerWidth, document.querySelector(arguments[0]).getBoundingClientRect().bottom]"
    width, bottom = browser.execute_script(code, down_to)
    clip = {"x": 0, "y": 0, "width": width, "height": bottom + _MARGIN, "scale": 1}
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})["data"])
