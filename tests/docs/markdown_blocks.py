"""What the pages hold: fenced blocks, the comment in front of each that says how CI treats it, and quoted code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = (
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
)

_COMMENT = re.compile(r"<!-- ci: (.+?) -->")
_COMMENTED = re.compile(r"(^|\s+)#[^'\"\n]*$")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\s`]*)(?: title=\"(?P<title>[^\"]+)\")?\s*$")
LANGUAGES = ("bash", "text", "json", "yaml", "python", "toml", "promql")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``ci`` is the text of the comment on the line in front of it, empty without one."""

    page: Path
    line: int
    language: str
    title: str | None
    ci: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its commands, comments left out; one that is continued, or holds a quoted line break, is one."""
        found: list[str] = []
        open_command = ""
        for line in re.sub(r"\\\n\s*", "", self.text).splitlines():
            open_command = f"{open_command}\n{line}" if open_command else line
            if _is_whole(open_command):
                found.append(open_command)
                open_command = ""
        bare = [_COMMENTED.sub("", command) for command in found]
        return [command for command in bare if command.strip()]


def _is_whole(command: str) -> bool:
    """Whether all its quotes are closed."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        start, indent = number, opening["indent"]
        number += 1
        while lines[number].rstrip() != f"{indent}```":
            number += 1
        body = "\n".join(line.removeprefix(indent) for line in lines[start + 1 : number]) + "\n"
        comment = _COMMENT.search(lines[start - 1]) if start else None
        yield Block(
            page, start + 1, opening["language"], opening["title"], comment[1].strip() if comment else "", body
        )
        number += 1


def essential_words(command: str) -> list[str]:
    """What a test elsewhere has to contain so as to run this command: its sub-commands, options and fields.

    Program, paths, values and addresses may differ there.
    """
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
        words = words[1:]
    found = []
    for word in words[1:]:
        if word.startswith("--") or re.fullmatch(r"[a-z][\w.]*=.*", word):
            found.append(word.partition("=")[0])
        elif re.fullmatch(r"[a-z][a-z-]*", word):
            found.append(word)
    return found
