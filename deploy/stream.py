# PYTHON_ARGCOMPLETE_OK
"""Run an exported detector on cameras and videos: `python deploy/stream.py --model best.onnx --source rtsp://...`."""

import sys

from fgd_yolo.cli.stream_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python deploy/stream.py"))
