# PYTHON_ARGCOMPLETE_OK
"""Time a detector in every precision and runtime: `python tools/benchmark.py inference`."""

import sys

from fgd_yolo.cli.benchmark_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python tools/benchmark.py"))
