"""`fgd-yolo recipes` and `tools/recipes.py`: list the recipes of `distill --recipe`, or print one."""

from __future__ import annotations

from collections.abc import Sequence

from fgd_yolo.cfg import recipe_names, recipe_summary, recipe_text
from fgd_yolo.console import Parser, command_name, described, guarded_command, offer
from fgd_yolo.errors import UsageError, close_match

EXAMPLES = [
    ("", "list all recipes"),
    ("paper-yolo", "print one"),
    ("paper-yolo > mine.yaml", "start a recipe of your own, for distill --recipe mine.yaml"),
]


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """List or print recipes and return the exit code: 0 success, 1 failure, 2 usage error.

    Args:
        argv: command line; None reads `sys.argv`.
        prog: program name for the help.
    """

    def run(words: list[str]) -> None:
        name = build_parser(prog).parse_args(words).recipe
        if name is None:
            print(_list())
        elif name in recipe_names():
            print(recipe_text(name), end="")
        else:
            known = recipe_names()
            raise UsageError(f"unknown recipe '{name}'{close_match(name, known)} (known: {', '.join(known)})")

    return guarded_command(run, argv)


def build_parser(prog: str | None = None) -> Parser:
    """Return the parser of the command.

    Args:
        prog: program name for the help; None takes the name of the running script.
    """
    parser = Parser(
        prog=prog,
        description="List the recipes that ship with the package, or print one as YAML. A recipe is a distillation in "
        "a file: `distill --recipe NAME`, or `--recipe FILE` for your own.",
        examples=EXAMPLES,
    )
    offer(parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="recipe to print"), recipe_names())
    return parser


def _list() -> str:
    lines = described({name: recipe_summary(name) for name in recipe_names()})
    next_steps = (f"print one: {command_name('recipes')} NAME", f"use it:    {command_name('distill')} --recipe NAME")
    return "\n".join([*lines, "", *next_steps])
