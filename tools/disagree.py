# PYTHON_ARGCOMPLETE_OK
"""Find the frames on which a student and its teacher disagree: `python tools/disagree.py --help`."""

import sys

from fgd_yolo.cli.disagree_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python tools/disagree.py"))
