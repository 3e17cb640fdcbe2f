# PYTHON_ARGCOMPLETE_OK
"""Detect on images with an exported model: `python deploy/predict.py --model best.onnx --source IMAGES`."""

import sys

from fgd_yolo.cli.predict_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python deploy/predict.py"))
