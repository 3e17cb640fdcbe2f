# PYTHON_ARGCOMPLETE_OK
"""Draw the attention of teacher and student: `python tools/visualize.py --run runs/distill/yolov8n`."""

import sys

from fgd_yolo.cli.visualize_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python tools/visualize.py"))
