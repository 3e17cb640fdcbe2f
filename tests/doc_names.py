"""Check what a page names, without executing it: commands, options, recipes, extras and files."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from fgd_yolo.cfg import recipe_names

from doc_api import api_problems, python_problems
from doc_pages import REPOSITORY, Block, Page
from doc_runner import command_of
from fgd_yolo.cli.main import COMMANDS, parsers
from fgd_yolo.config import FGDConfig, Recipe
from fgd_yolo.errors import FGDError, UsageError, close_match
from fgd_yolo.train_arguments import check_train_args, ultralytics_defaults

PROGRAMS = (
    *("apt-get", "bash", "cat", "cd", "cp", "curl", "docker", "echo", "export", "fgd-yolo", "find", "git", "grep"),
    *("head", "install", "ls", "make", "mkdir", "mkdocs", "mv", "pip", "pre-commit", "pytest", "python", "python3"),
    *("rm", "scp", "sed", "sleep", "source", "sort", "ssh", "sudoedit", "systemctl", "tail", "test", "touch", "tree"),
    *("unzip", "useradd", "wait", "wc", "wget", "xdg-open", "yolo", "journalctl", "jq", "chmod", "chown", "du"),
    *("kubectl", "sbatch", "torchrun"),
)
"""Programs that a page may name."""
OTHERS_OPTIONS = (
    *("--build", "--file", "--hook-type", "--no-deps", "--strict", "--help", "--version", "--system", "--user-group"),
    *("--now", "--debug", "--data-urlencode", "--header", "--max-restarts", "--node-rank", "--local-addr"),
)
"""Options of other programs, and of all commands."""
FOLDERS = ("benchmarks", "cfg", "deploy", "docs", "examples", "fgd_yolo", "tests", "tools", ".ci")
"""Folders of the repository: a path that starts with one of them must exist."""
USERS_FILES = ("deploy/streams.yaml", "deploy/models")
"""Paths in these folders that a user creates."""
_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}")
_GROUPS = ("features", "heads", "schedule", "checks")
_EXTRAS = re.compile(r"(?:fgd_yolo|\.)\[([\w,]+)\]")
_OPTION = re.compile(r"(?<![\w-])--[a-z](?:[\w.-]*\w)?")
_GROUPED = re.compile(rf"(?<![\w./])(?:{'|'.join(_GROUPS)})\.[a-z_]+\b(?!\.\w)")
_PATH = re.compile(rf"(?<![\w./~:-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*[\w/]")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_SEPARATORS = {"&&", "||", "|", ";", "&", "(", ")"}
_KEYWORDS = {"sudo", "do", "then", "if", "while", "else", "!", "time", "for", "done", "fi", "in"}


def problems(page: Page) -> list[str]:
    """Return what is wrong with the blocks and the inline code of a page, one line each."""
    found = [f"{page.name}, line {line}: {problem}" for line, problem in _prose_problems(page)]
    for block in page.blocks:
        found += [f"{page.name}, line {line}: {problem}" for line, problem in block_problems(block)]
    return found


def block_problems(block: Block) -> Iterator[tuple[int, str]]:
    """Yield line numbers and problems of a block."""
    if block.kind.startswith("unknown"):
        yield block.line, block.kind
    if block.kind in {"run", "check"}:
        check = _bash_problems if block.language == "bash" else python_problems
        yield from ((block.line + line, problem) for line, problem in check(block.text))
    if block.kind == "file":
        for problem in _yaml_problems(block):
            yield block.line, problem


# ---- bash


def _bash_problems(text: str) -> Iterator[tuple[int, str]]:
    for line, words in shell_commands(text):
        for problem in _command_problems(words):
            yield line, problem


def shell_commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number, from 1, and words of each simple command, without assignments and redirections."""
    lines = enumerate(text.splitlines(), start=1)
    for first, line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines, (0, ""))[1]
        if heredoc := _HEREDOC.search(line):
            line = line.replace(heredoc[0], "")
            while next(lines, (0, heredoc[2]))[1].strip() != heredoc[2]:
                pass
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                words.append(word)
            elif command := _without_redirections(words):
                yield first, command
                words = []
            else:
                words = []


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if re.fullmatch(r"[<>&]+", word):
            skip = True
            if kept and kept[-1] in {"1", "2"}:
                kept.pop()
        elif not skip:
            kept.append(word)
        else:
            skip = False
    while kept and (kept[0] in _KEYWORDS or re.fullmatch(r"\w+=.*", kept[0])):
        if kept[0] in {"for", "done", "fi"}:
            return []
        kept.pop(0)
    return kept


def _command_problems(words: list[str]) -> Iterator[str]:
    program = Path(words[0]).name
    if program not in PROGRAMS:
        yield f"unknown program '{words[0]}'"
    for word in words:
        yield from _path_problems(word)
    for extras in _EXTRAS.findall(" ".join(words)) if "pip" in map(_name, words) else ():
        yield from _extra_problems(extras)
    if program == "yolo":
        keys = [word.partition("=")[0] for word in words if "=" in word]
        yield from (f"unknown argument '{key}' of yolo" for key in keys if key not in ultralytics_defaults())
    if command := command_of(words):
        yield from command_problems(*command)
    elif program in {"python", "python3"} and words[1:2] == ["-m"] and words[2].startswith(FOLDERS):
        yield from _module_problems(words[2])


def _name(word: str) -> str:
    return Path(word).name


def _module_problems(module: str) -> Iterator[str]:
    path = REPOSITORY / module.replace(".", "/")
    if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file():
        yield f"there is no module {module}"


def command_problems(name: str, words: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the arguments of a command: its own parser reads them, as if it were executed."""
    if not name:
        if words and words[0] not in {"--help", "-h", "--version"}:
            yield f"unknown option '{words[0]}' of fgd-yolo"
        return
    if name not in COMMANDS:
        yield f"unknown command '{name}'{close_match(name, COMMANDS)}"
        return
    if {"--help", "-h", "--version"} & set(words):
        return
    try:
        PARSE.get(name, _parse)(name, list(words))
    except FGDError as error:
        yield f"fgd-yolo {name}: {error}"
    except SystemExit:
        yield f"fgd-yolo {name} {shlex.join(words)} ends at once"


def _parse(name: str, words: list[str]):
    """Parse the arguments of a command with its own parser."""
    return import_module(COMMANDS[name][0]).build_parser(f"fgd-yolo {name}").parse_args(words)


def _parse_distill(name: str, words: list[str]) -> None:
    from fgd_yolo.cli.distill_command import parse_distill
    from fgd_yolo.config import load_recipe

    recipe = _recipe(words)
    if _is_file(recipe):
        words = [word.replace(recipe, "plain") for word in words]
    elif recipe:
        load_recipe(recipe)
    parse_distill(words)


def _recipe(words: list[str]) -> str:
    found = re.search(r"(?:--)?recipe[ =](\S+)", " ".join(words))
    return found[1] if found else ""


def _is_file(recipe: str) -> bool:
    """Return whether a recipe is a file of the user, or of a run."""
    return recipe.endswith((".yaml", ".yml"))


def _parse_compare(name: str, words: list[str]) -> None:
    from fgd_yolo.cli.compare_command import parse

    if "--report" in words or _is_file(_recipe(words)):
        _parse(name, words)
    else:
        parse(words)


def _parse_export(name: str, words: list[str]) -> None:
    from fgd_yolo.export.precisions import PRECISIONS

    precision = _parse(name, words).precision
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision '{precision}'{close_match(precision, PRECISIONS)}")


def _parse_stream(name: str, words: list[str]) -> None:
    from fgd_yolo.cli.stream_command import name_sources
    from fgd_yolo.streams.stream_options import read_options

    given = {key: value for key, value in vars(_parse(name, words)).items() if value not in (None, False)}
    given.pop("debug", None)
    if given.pop("config", None):
        given.setdefault("model", Path("best.onnx"))
    streams = name_sources(given.pop("source", []))
    read_options({**given, "streams": streams})


PARSE: dict[str, Callable[[str, list[str]], Any]] = {
    "distill": _parse_distill,
    "compare": _parse_compare,
    "export": _parse_export,
    "stream": _parse_stream,
}
"""How a command reads its arguments, where that is more than its parser."""


# ---- files, extras, YAML


@cache
def repository_files() -> frozenset[str]:
    """Return all tracked and new files of the repository, and their folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [Path(name) for name in listed.stdout.splitlines() if (REPOSITORY / name).exists()]
    return frozenset(str(path) for file in files for path in (file, *file.parents))


def _path_problems(text: str) -> Iterator[str]:
    for path in _PATH.findall(text):
        known = path.rstrip("/.") in repository_files() or path.startswith(USERS_FILES)
        if not known and not _PLACEHOLDER.search(path):
            yield f"there is no {path} in the repository"


def _extra_problems(extras: str) -> Iterator[str]:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    known = setup["options.extras_require"]
    yield from (
        f"unknown extra '{extra}'{close_match(extra, known)}" for extra in extras.split(",") if extra not in known
    )


def _yaml_problems(block: Block) -> Iterator[str]:
    from fgd_yolo.streams.stream_options import read_options

    try:
        options = yaml.safe_load(block.text)
        if block.title == "recipe.yaml":
            check_train_args(Recipe.from_dict(options).train)
        elif block.title == "streams.yaml":
            streams = options.pop("streams", {})
            entries = {name: entry if isinstance(entry, dict) else {"source": entry} for name, entry in streams.items()}
            read_options({"model": "best.onnx", **options, "streams": entries})
        elif block.title == "pytorchjob.yaml":
            for pods in options["spec"]["pytorchReplicaSpecs"].values():
                for container in pods["template"]["spec"]["containers"]:
                    yield from _command_problems(container["command"])
        elif not {"train", "val", "names"} <= set(options):
            yield f"{block.title} needs train, val and names"
    except (yaml.YAMLError, FGDError, TypeError, AttributeError, KeyError) as error:
        yield f"{block.title}: {error}"


# ---- inline code and links


def _prose_problems(page: Page) -> Iterator[tuple[int, str]]:
    for line, text in page.spans():
        for problem in span_problems(text):
            yield line, problem
    if not page.name.startswith("docs/"):  # mkdocs checks the links of the site
        for line, text in enumerate(page.prose, start=1):
            for target in _LINK.findall(text):
                path = (REPOSITORY / page.name).parent / target
                if "://" not in target and not path.exists():
                    yield line, f"there is no {target} that this link names"


def span_problems(text: str) -> Iterator[str]:
    """Yield what is wrong with a piece of inline code: options, commands, files, extras and names of the API."""
    words = text.split()
    command = _inline_command(words)
    if command and command not in COMMANDS:
        yield f"`{text}`: unknown command '{command}'{close_match(command, COMMANDS)}"
    known = known_options(command) if command in COMMANDS else known_options()
    if command or text.startswith("--"):
        for option in _OPTION.findall(text):
            if option not in known and option not in OTHERS_OPTIONS:
                yield f"`{text}`: unknown option '{option}'{close_match(option, known)}"
    for option in _GROUPED.findall(text):
        if option not in FGDConfig.option_names():
            yield f"`{text}`: unknown option '{option}'{close_match(option, FGDConfig.option_names())}"
    if (recipe := re.search(r"--recipe ([a-z][\w-]*)$", text)) and recipe[1] not in recipe_names():
        yield f"`{text}`: unknown recipe '{recipe[1]}'{close_match(recipe[1], recipe_names())}"
    if method := re.search(r"--method ([a-z][\w+]*)$", text):
        try:
            FGDConfig(method=method[1])
        except UsageError as error:
            yield f"`{text}`: {error}"
    for extras in _EXTRAS.findall(text):
        yield from _extra_problems(extras)
    yield from (f"`{text}`: {problem}" for problem in _path_problems(text))
    yield from (f"`{text}`: {problem}" for problem in api_problems(text))


def _inline_command(words: list[str]) -> str | None:
    """Return the command that inline code names, such as `fgd-yolo export`, or None."""
    if len(words) < 2 or not re.fullmatch(r"[\w./-]+", words[1]):
        return None
    command = command_of(words)
    return command[0] if command and command[0] and not command[0].isupper() else None


@cache
def known_options(command: str = "") -> frozenset[str]:
    """Return the options of a command with its subcommands, or of all commands."""
    found = {flag for name, parser in parsers().items() if name.startswith(command) for flag in parser.flags}
    return frozenset(found)
