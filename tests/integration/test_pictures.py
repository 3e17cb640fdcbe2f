"""Every picture of the documentation is taken again, from a small run and from the pages in a real browser."""

from __future__ import annotations

import shutil

import pictures
import pytest
from PIL import Image

needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver"
)
pytestmark = pytest.mark.slow


def take(name, folder, run=None, plain=None):
    """Take a picture and return its size."""
    words = [name, "--folder", str(folder), "--stream-s", "1"]
    for option, value in (("--run", run), ("--plain", plain)):
        words += [option, str(value)] if value else []
    assert pictures.main(words) == 0
    with Image.open(folder / f"{name}.png") as image:
        image.load()
        return image.size


@pytest.fixture
def run(shell, first_run):
    assert first_run.returncode == 0, first_run.stderr
    return shell.folder / "runs/distill/first"


@pytest.mark.parametrize("name", ["training-curves", "attention", "masks"])
def test_a_picture_of_a_run_is_drawn(name, run, tmp_path):
    width, height = take(name, tmp_path, run)
    assert 700 < width < 1300
    assert height > 500


@needs_browser
@pytest.mark.parametrize(("name", "width"), [("report", 1200), ("stream-page", 1000), ("stream-page-phone", 585)])
def test_a_page_is_photographed(name, width, tmp_path):
    size = take(name, tmp_path)
    assert size[0] == width
    assert size[1] > 0.6 * width
