# PYTHON_ARGCOMPLETE_OK
"""Export a checkpoint to ONNX for the camera machine: `python deploy/export.py --model best.pt`."""

import sys

from fgd_yolo.cli.export_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python deploy/export.py"))
