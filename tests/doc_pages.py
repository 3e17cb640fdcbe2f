"""The pages of the documentation, cut into blocks, and the rules that say what a test does with each block.

A block is a fence (```` ```bash ````); an HTML comment on the line before the fence can change what happens to it:

| block | comment | what a test does |
|---|---|---|
| bash, python | none | executes it |
| bash, python | `check only: REASON` | checks commands, names and files, and executes nothing |
| text | `output` | compares it with what the blocks since the last text block printed |
| text | `output, numbers vary` | the same, but any number is equal to any other |
| text | `example output` | nothing |
| yaml with a `title` | none | writes it to a file of this name, and validates it |
| json | none | parses it strictly |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CI_MARKER = "ci: test command"
"""The block after this marker is executed by `.ci/run`, so it is only checked here."""
OUTPUTS = {"output": "output", "output, numbers vary": "output", "example output": "example"}
"""Kinds of text blocks by their comment."""
SHOWN = ("mermaid", "bibtex")
"""Languages of blocks that are only shown."""
TITLES = ("recipe.yaml", "streams.yaml", "data.yaml", "pytorchjob.yaml")
"""Titles of YAML blocks: a recipe, settings of streams, a dataset, a job of Kubernetes."""
_FENCE = re.compile(r"(?P<indent>\s*)(?P<marks>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
_COMMENT = re.compile(r"\s*<!--\s*(?P<text>.*?)\s*-->\s*$")
_TITLE = re.compile(r'title="([^"]*)"')
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fence of a page.

    Args:
        page: path of the page in the repository.
        line: line number of the opening fence, from 1; the first line of the text is the next one.
        language: first word after the fence.
        title: value of `title="..."`, or an empty string.
        comment: text of the HTML comments directly before the fence.
        text: content without the indentation of the fence.
    """

    page: str
    line: int
    language: str
    title: str
    comment: str
    text: str

    @property
    def kind(self) -> str:
        """What a test does: run, check, output, example, file, json or shown; `unknown: ...` says what is wrong."""
        if self.language in {"bash", "python"}:
            return self._kind_of_code()
        if self.language == "text" and self.comment in OUTPUTS:
            return OUTPUTS[self.comment]
        if self.language == "text":
            return "unknown: a text block needs <!-- output --> or <!-- example output --> on the line before it"
        if self.language == "yaml":
            return (
                "file" if self.title in TITLES else f"unknown: a yaml block needs a title, one of {', '.join(TITLES)}"
            )
        if self.language in {"json", *SHOWN}:
            return "json" if self.language == "json" else "shown"
        return f"unknown: no rule for language '{self.language}'"

    def _kind_of_code(self) -> str:
        if not self.comment:
            return "run"
        if self.comment == CI_MARKER or re.fullmatch(r"check only: .*\w{3}.*", self.comment):
            return "check"
        return f"unknown: <!-- {self.comment} --> is neither 'check only: REASON' nor '{CI_MARKER}'"


@dataclass(frozen=True)
class Page:
    """A page: its blocks, and its lines with those of the blocks emptied."""

    name: str
    text: str
    blocks: list[Block] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)

    def spans(self) -> Iterator[tuple[int, str]]:
        """Yield the line number and the text of each piece of inline code."""
        text = "\n".join(self.prose)
        for match in _SPAN.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, re.sub(r"\s+", " ", match[2]).strip()


def page_names() -> list[str]:
    """Return the paths of all pages, but for the committed reports of comparisons and the change log."""
    docs = (path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md"))
    pages = sorted(name for name in docs if not name.startswith("docs/results/"))
    return ["README.md", "CONTRIBUTING.md", "deploy/README.md", *pages]


def read_page(name: str, root: Path = REPOSITORY) -> Page:
    """Read a page and cut it into blocks.

    Raises:
        ValueError: a fence is not closed.
    """
    page = Page(name, (root / name).read_text(encoding="utf-8"))
    lines = page.text.splitlines()
    opening: tuple[int, re.Match] | None = None
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if opening is None:
            opening = (number, fence) if fence else None
            page.prose.append("" if fence or _COMMENT.match(line) else line)
            continue
        page.prose.append("")
        start, first = opening
        if fence and not fence["info"] and fence["marks"].startswith(first["marks"]):
            page.blocks.append(_block(name, lines, start, number, first))
            opening = None
    if opening:
        raise ValueError(f"{name}, line {opening[0]}: this fence is not closed")
    return page


def _block(name: str, lines: list[str], start: int, end: int, fence: re.Match) -> Block:
    indent, info = len(fence["indent"]), fence["info"].strip()
    title = _TITLE.search(info)
    comments: list[str] = []
    for line in reversed(lines[: start - 1]):
        if not (comment := _COMMENT.match(line)):
            break
        comments.insert(0, comment["text"])
    text = "".join(f"{line[indent:] if not line[:indent].strip() else line}\n" for line in lines[start : end - 1])
    language = info.split()[0] if info else ""
    return Block(name, start, language, title[1] if title else "", " ".join(comments), text)
