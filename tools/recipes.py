# PYTHON_ARGCOMPLETE_OK
"""List the recipes of a distillation, or print one: `python tools/recipes.py fgd`."""

import sys

from fgd_yolo.cli.recipes_command import main

if __name__ == "__main__":
    sys.exit(main(prog="python tools/recipes.py"))
