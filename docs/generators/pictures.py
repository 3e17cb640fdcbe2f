"""Take the pictures of the documentation from finished runs, the committed rows and pages in a real browser.

Each is written to docs/pictures/NAME.png. CONTRIBUTING says which runs the committed ones were taken from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from attention_figure import ATTENTION, MASKS, cut_attention
from committed_rows import comparison_rows, folders_of
from first_look import draw_first_look
from PIL import Image
from training_curves import draw_training_curves
from web_pages import ROOT, Screen, photograph_report, photograph_streams

from fgd_yolo.compare.plots import save_png
from fgd_yolo.console import Parser, guarded_command
from fgd_yolo.errors import FGDError, UsageError

REPORTED = ROOT / "docs/results" / folders_of("bccd")[0]
PAGE, WIDE, PHONE = Screen(1000, 1.2), Screen(800, 1.25), Screen(390, 1.5, dark=True)
MAX_BYTES = 400_000
_EXAMPLES = (
    ("--run runs/distill/fgd --plain runs/distill/plain --demo runs/distill/yolov8n", "all pictures"),
    ("report stream-page stream-page-phone", "the pages, which need chromium and chromedriver but no run"),
)
_LEVELS = 63  # above black, of each colour: invisibly fewer than 255, and a third of the size is saved


class Inputs(NamedTuple):
    """What pictures are taken from.

    Args:
        run: run folder of a distilled student.
        plain: run folder of the same student without a teacher.
        demo: run folder of the demo, the first command of the README.
        stream_s: age of the page of the streams in its pictures.
    """

    run: Path | None
    plain: Path | None
    demo: Path | None
    stream_s: float


class Picture(NamedTuple):
    """The options that a picture needs, and the function that writes it to a file."""

    needs: tuple[str, ...]
    take: Callable[[Path, Inputs], object]


PICTURES = {
    "first-look": Picture(
        ("run", "plain"),
        lambda path, given: save_png(lambda: draw_first_look(given.run, given.plain, comparison_rows()), path),
    ),
    "training-curves": Picture(("run",), lambda path, given: save_png(lambda: draw_training_curves(given.run), path)),
    "demo-curves": Picture(("demo",), lambda path, given: save_png(lambda: draw_training_curves(given.demo), path)),
    "attention": Picture(("run",), lambda path, given: path.write_bytes(cut_attention(given.run, ATTENTION))),
    "masks": Picture(("run",), lambda path, given: path.write_bytes(cut_attention(given.run, MASKS))),
    "report": Picture((), lambda path, _: path.write_bytes(photograph_report(REPORTED, PAGE))),
    "stream-page": Picture((), lambda path, given: path.write_bytes(photograph_streams(WIDE, given.stream_s))),
    "stream-page-phone": Picture((), lambda path, given: path.write_bytes(photograph_streams(PHONE, given.stream_s))),
}


def main(argv: list[str] | None = None) -> int:
    """Take pictures and return the exit code: 0 success, 1 failure, 2 usage error."""
    return guarded_command(_run, argv)


def take_picture(name: str, path: Path, given: Inputs) -> None:
    """Take one picture.

    Raises:
        FGDError: a run cannot be used, or the file is larger than `MAX_BYTES`.
    """
    PICTURES[name].take(path, given)
    shrink(path)
    if path.stat().st_size > MAX_BYTES:
        raise FGDError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}: make it smaller")


def shrink(path: Path) -> None:
    """Round the colours of a PNG file, white and black excepted, since noise in a photo takes most of its size."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)
    rounded = np.round(np.round(pixels / 255 * _LEVELS) * 255 / _LEVELS)
    Image.fromarray(rounded.astype(np.uint8)).save(path, optimize=True)


def _run(argv: list[str]) -> None:
    args = _parser().parse_args(argv)
    given = Inputs(args.run, args.plain, args.demo, args.stream_s)
    for name in args.names:
        if name not in PICTURES:
            raise UsageError(f"unknown picture '{name}': choose from {', '.join(PICTURES)}")
    names = args.names or list(PICTURES)
    missing = {f"--{need}" for name in names for need in PICTURES[name].needs if getattr(given, need) is None}
    if missing:
        raise UsageError(f"missing {' and '.join(sorted(missing))}: finished run folders of fgd-yolo distill")
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = args.folder / f"{name}.png"
        take_picture(name, path, given)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _parser() -> Parser:
    parser = Parser(prog="pictures.py", description=__doc__.splitlines()[0], examples=_EXAMPLES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PICTURES)} (default: all)")
    parser.add_argument("--run", type=Path, metavar="RUN", help="run folder of a distilled student")
    parser.add_argument("--plain", type=Path, metavar="RUN", help="run folder of the same student without a teacher")
    parser.add_argument("--demo", type=Path, metavar="RUN", help="run folder of the demo scenes")
    help_text = "seconds for which the page of the streams is open before its picture (default: %(default)g)"
    parser.add_argument("--stream-s", type=float, default=40.0, metavar="S", help=help_text)
    help_text = "where the pictures go (default: docs/pictures)"
    parser.add_argument("--folder", type=Path, default=ROOT / "docs/pictures", metavar="DIR", help=help_text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
