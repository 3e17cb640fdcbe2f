"""Execute the blocks of a page: bash in a real shell, commands of this project and Python inside this process."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from doc_pages import REPOSITORY, Block, Page
from doc_shrink import PAGE_PORT, ShrinkCalls, shrink_command
from fgd_yolo.cli.main import COMMANDS
from fgd_yolo.cli.main import main as fgd_yolo_main

NEVER = ("apt", "apt-get", "docker", "git", "pip", "pip3", "sudo", "systemctl")
"""Programs that a block must not execute."""
_SCRIPT = re.compile(r"(?:\S*/)?(?:tools|deploy)/(\w+)\.py")
# The folder and the exported variables of a block are those of the next one. BASH_ENV keeps the line numbers.
_PROLOGUE = """\
set -eEua
trap 'echo "$LINENO" > "$DOC_STATE/line"' ERR
trap '{ export -p; printf "cd %q\\n" "$PWD"; } > "$DOC_STATE/shell"' EXIT
unset BASH_ENV
if [ -f "$DOC_STATE/shell" ]; then . "$DOC_STATE/shell"; fi
"""
# Stands for fgd-yolo, python and the programs of NEVER: it asks the test to run the command. Outside of a block, where
# the commands of this project start Python themselves, it is Python.
_SHIM = """\
#!{python} -IS
import json, os, socket, sys
if "DOC_STATE" not in os.environ:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
given = sys.stdin.read() if sys.argv[1:2] in ([], ["-"]) else ""
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["DOC_STATE"] + "/socket")
    request = [[os.path.basename(sys.argv[0]), *sys.argv[1:]], os.getcwd(), dict(os.environ), given]
    server.sendall(json.dumps(request).encode())
    server.shutdown(socket.SHUT_WR)
    out, err, code = json.load(server.makefile())
sys.stderr.write(err)
try:
    sys.stdout.write(out)
    sys.stdout.flush()
except BrokenPipeError:
    os._exit(0)
sys.exit(code)
"""


class BlockError(AssertionError):
    """A block that does not do what its page says; the message names page and line."""

    def __init__(self, block: Block, line: int, problem: str, output: str = ""):
        where = f"{block.page}, line {line}, {block.language} block: {problem}"
        super().__init__(f"{where}\n--- output ---\n{output}" if output else where)


class PageRunner:
    """The folder of one page and the state that its blocks share.

    Args:
        stand_ins: folder whose content the page starts with.
        folder: the page's folder, which must not exist.
    """

    def __init__(self, stand_ins: Path, folder: Path):
        self.folder = folder
        shutil.copytree(stand_ins, folder)
        for name in ("tools", "deploy"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.state = Path(tempfile.mkdtemp(prefix="doc-"))  # the path of a socket has at most 108 bytes
        self._make_programs()
        (self.state / "prologue.sh").write_text(_PROLOGUE)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.output = ""
        self.failed: list[str] = []

    def _make_programs(self) -> None:
        shim = self.folder / ".venv/bin/shim"
        shim.parent.mkdir(parents=True)
        shim.write_text(_SHIM.format(python=sys.executable))
        shim.chmod(0o755)
        for name in ("fgd-yolo", "python", "python3", *NEVER):
            shim.with_name(name).symlink_to(shim.name)

    def close(self) -> None:
        shutil.rmtree(self.state)

    def run(self, page: Page) -> None:
        """Execute the blocks of a page, one after the other.

        Raises:
            BlockError: a block fails, or its output is not what the page shows.
        """
        actions = {"run": self._execute, "output": self._compare, "file": self._write, "json": check_json}
        for block in page.blocks:
            if block.kind in actions:
                actions[block.kind](block)

    def _execute(self, block: Block) -> None:
        (self._bash if block.language == "bash" else self._python)(block)

    def _small(self, text: str) -> str:
        return text.replace(f":{PAGE_PORT}", f":{self.port}")

    def _write(self, block: Block) -> None:
        if block.title != "data.yaml":  # the stand-in's classes are those of its labels
            (self.folder / block.title).write_text(self._small(block.text))

    def _compare(self, block: Block) -> None:
        printed, self.output = self.output, ""
        if missing := first_missing(block.text, printed, numbers_vary="numbers vary" in block.comment):
            offset, line = missing
            raise BlockError(block, block.line + offset, f"not in the output: {line}", printed)

    def _bash(self, block: Block) -> None:
        script = self.state / "block.sh"
        script.write_text(self._small(block.text))
        (self.state / "line").unlink(missing_ok=True)
        self.failed = []
        with (
            (self.state / "output").open("w+b") as out,
            socket.socket(socket.AF_UNIX) as server,
        ):
            (self.state / "socket").unlink(missing_ok=True)
            server.bind(str(self.state / "socket"))
            server.listen()
            server.settimeout(0.02)
            path = f"{self.folder / '.venv/bin'}:{os.environ['PATH']}"
            state = {"DOC_STATE": str(self.state), "BASH_ENV": str(self.state / "prologue.sh"), "PATH": path}
            environment = {**os.environ, **state}
            options = {"cwd": self.folder, "env": environment, "stdin": subprocess.DEVNULL}
            shell = subprocess.Popen(["bash", str(script)], stdout=out, stderr=subprocess.STDOUT, **options)
            while shell.poll() is None:
                with contextlib.suppress(TimeoutError):
                    self._serve(server.accept()[0])
            out.seek(0)
            printed = self._keep_output(out.read().decode(errors="replace"))
        if shell.returncode or self.failed:
            problem = self.failed[0] if self.failed else f"exit code {shell.returncode}"
            raise BlockError(block, block.line + self._failed_line(), problem, printed)

    def _keep_output(self, printed: str) -> str:
        printed = printed.replace(f":{self.port}", f":{PAGE_PORT}")
        self.output += printed
        return printed

    def _failed_line(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.state / "line").read_text())
        return 1

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rw") as pipe:
            words, cwd, environment, given = json.load(pipe)
            del environment["DOC_STATE"]
            code, out, err = self._command(words, Path(cwd), environment, given)
            if code:
                self.failed.append(f"exit code {code} from {shlex.join(words)}")
            json.dump([out, err, code], pipe)

    def _command(self, words: list[str], cwd: Path, environment: dict, given: str) -> tuple[int, str, str]:
        if words[0] in NEVER or words[:3] == ["python3", "-m", "venv"]:
            return 1, "", f"{words[0]} is not executed here: write <!-- check only: REASON --> before the block\n"
        # Files, since a sink that writes to standard output uses its descriptor.
        with (self.state / "out").open("w+") as out, (self.state / "err").open("w+") as err:
            with _as_user(self.folder, cwd, environment, out, err):
                code = _exit_code(lambda: _call(words, given))
            return code, _content(out), _content(err)

    def _python(self, block: Block) -> None:
        out, page = io.StringIO(), f"<{block.page}>"
        try:
            tree = ShrinkCalls().visit(ast.parse(self._small(block.text), page))
            code = compile(ast.increment_lineno(ast.fix_missing_locations(tree), block.line), page, "exec")
            with _as_user(self.folder, self.folder, dict(os.environ), out, out):
                exec(code, self.names)
        except SyntaxError as error:
            raise BlockError(block, block.line + (error.lineno or 1), f"SyntaxError: {error.msg}") from None
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == page]
            problem = f"{type(error).__name__}: {error}"
            raise BlockError(block, lines[-1] if lines else block.line + 1, problem, out.getvalue()) from error
        self._keep_output(out.getvalue())


@contextlib.contextmanager
def _as_user(folder: Path, cwd: Path, environment: dict, out: io.TextIOBase, err: io.TextIOBase) -> Iterator[None]:
    """Run with the folder, the variables and the Python program of a user's shell."""
    program = str(folder / ".venv/bin/python")
    with (
        patch.dict(os.environ, environment),
        patch.object(sys, "executable", program),
        _chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _content(file: io.TextIOBase) -> str:
    file.flush()
    file.seek(0)
    return file.read()


def _exit_code(action: Callable[[], int | None]) -> int:
    try:
        return action() or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except Exception:
        traceback.print_exc()
        return 1


def command_of(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return name and arguments of a command of this project, or None for other commands.

    Both forms of a command are known, `fgd-yolo export ...` and `python deploy/export.py ...`, and both as a program of
    torchrun.
    """
    program, rest = Path(words[0]).name, list(words[1:])
    if program == "torchrun":
        place = next((index for index, word in enumerate(rest) if _SCRIPT.fullmatch(word) or word == "fgd-yolo"), None)
        if place is None:
            return None
        program, rest = ("python", rest[place:]) if _SCRIPT.fullmatch(rest[place]) else (rest[place], rest[place + 1 :])
    if program == "fgd-yolo":
        return (rest[0], rest[1:]) if rest and not rest[0].startswith("-") else ("", rest)
    script = _SCRIPT.fullmatch(rest[0]) if rest and program in {"python", "python3"} else None
    return (script[1], rest[1:]) if script else None


def _call(words: list[str], given: str) -> int | None:
    """Execute a command of this project, or a Python script, module or text."""
    command = command_of(words)
    if command is None:
        return _call_python(words[1:], given)
    name, rest = command
    rest = shrink_command(name, rest)
    if words[0] == "fgd-yolo":
        with patch.object(sys, "argv", ["fgd-yolo"]):
            return fgd_yolo_main([name, *rest] if name else rest)
    if not Path(words[1]).is_file() or name not in COMMANDS:
        raise FileNotFoundError(f"no file {words[1]}")
    with patch.object(sys, "argv", words[1:2]):
        return import_module(COMMANDS[name][0]).main(rest, prog=Path(words[1]).name)


def _call_python(words: list[str], given: str) -> None:
    options = {"run_name": "__main__"}
    if words[:1] in ([], ["-"], ["-c"]):
        text = words[1] if words[:1] == ["-c"] else given
        exec(compile(text, "<block>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        with patch.object(sys, "argv", words[1:]):
            runpy.run_module(words[1], **options)
    else:
        with patch.object(sys, "argv", words):
            runpy.run_path(words[0], **options)


def first_missing(expected: str, output: str, numbers_vary: bool = False) -> tuple[int, str] | None:
    """Return the number and the text of the first line that the output does not have, or None.

    The lines follow each other in the output, too; `...` alone on a line skips lines, and `...` within a line skips
    characters. Lines before the first and after the last are not compared.

    Args:
        expected: text of the page.
        output: what was printed.
        numbers_vary: accept any number for a number, and any space for a space.
    """
    lines = [line.rstrip() for line in output.splitlines()]
    parts: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(expected.splitlines(), start=1):
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append((number, line.rstrip()))
    position = 0
    for part in parts:
        patterns = [_pattern(line, numbers_vary) for _, line in part]
        same = [_same_lines(patterns, lines[start:]) for start in range(position, len(lines) + 1)]
        if max(same) < len(part):
            return part[max(same)]
        position += same.index(len(part)) + len(part)
    return None


def _pattern(line: str, numbers_vary: bool) -> str:
    """Return the regular expression of a line."""
    pattern = ".*".join(map(re.escape, line.split("...")))
    if numbers_vary:
        pattern = re.sub(r"(\\[+-])?\d(\d|\\?[.,](?=\d))*", lambda number: r"[+-]?\d[\d.,]*", pattern)
        pattern = re.sub(r"(\\ )+", lambda spaces: r"\s+", pattern)
    return pattern


def _same_lines(patterns: list[str], lines: list[str]) -> int:
    """Return how many lines agree from the first on."""
    for index, pattern in enumerate(patterns):
        if index >= len(lines) or not re.fullmatch(pattern, lines[index]):
            return index
    return len(patterns)


def check_json(block: Block) -> None:
    """Check that a block is JSON without the words NaN and Infinity.

    Raises:
        BlockError: it is not.
    """

    def refuse(word: str):
        raise ValueError(f"{word} is not JSON")

    try:
        json.loads(block.text, parse_constant=refuse)
    except ValueError as error:
        raise BlockError(block, block.line + getattr(error, "lineno", 1), str(error)) from None
