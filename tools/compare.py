# PYTHON_ARGCOMPLETE_OK
"""Compare distillation methods over seeds and data sets: `python tools/compare.py --methods plain fgd ...`."""

import sys

from fgd_yolo.cli.compare_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python tools/compare.py"))
