"""Measure a part of fgd_yolo against a yardstick: `python tools/benchmark.py loss`."""

import sys

from fgd_yolo.cli.benchmark_command import main

if __name__ == "__main__":
    sys.exit(main())
