"""Fill the template of a self-contained HTML page, in the style that all reports share."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fgd_yolo.errors import not_installed

STYLE = "page_style.css"
"""The shared style: colours for light and dark, text and tables."""


def check_page_extra() -> None:
    """Check that pages can be written, before long work that ends in one.

    Raises:
        FGDError: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise not_installed("jinja2", "compare") from error


def fill_template(package: str, name: str, **values: Any) -> str:
    """Return a template of a package, filled; values in an HTML page are escaped.

    Args:
        package: package with a folder `templates`.
        name: file in that folder; one that ends in `.html` has the shared style as `style`.
        values: values by the names in the template; a name that is missing is an error.

    Raises:
        FGDError: jinja2 is not installed.
    """
    check_page_extra()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    text = files(package).joinpath("templates", name).read_text(encoding="utf-8")
    html = name.endswith(".html")
    if html:
        values["style"] = Markup(files("fgd_yolo").joinpath(STYLE).read_text(encoding="utf-8"))
    environment = Environment(autoescape=html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(**values)
