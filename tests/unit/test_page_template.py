"""Pages are filled with escaped values in the shared style, or the missing extra is named."""

from __future__ import annotations

import sys
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from fgd_yolo.errors import FGDError
from fgd_yolo.page_template import STYLE, check_page_extra, fill_template

PACKAGE = "fgd_yolo.disagreement"
SUMMARY = {"student": "<s>", "teacher": "t", "frames": 1, "agreement": None, "by_class": {}, "frames_with_objects": 0}


def fill(**summary) -> str:
    summary = {**SUMMARY, "iou": 0.5, "confident": 0.5, **summary}
    return fill_template(PACKAGE, "index.html", summary=summary, pictures=[], kinds=())


def test_a_page_has_the_shared_style_and_escaped_values():
    html = fill()
    assert files("fgd_yolo").joinpath(STYLE).read_text() in html
    assert "&lt;s&gt;" in html and "<s>" not in html


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        fill_template(PACKAGE, "index.html", pictures=[], kinds=())


def test_without_jinja2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(FGDError, match=r"jinja2 is not installed; run pip install 'fgd_yolo\[compare\]'"):
        check_page_extra()
