# PYTHON_ARGCOMPLETE_OK
"""Distil one detector into another: `python tools/distill.py --teacher yolov8l --student yolov8n`."""

import sys

from fgd_yolo.cli.distill_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python tools/distill.py"))
