"""Test programs as files: Python after a header of TOML in comments. Standard library only.

# /// attack
# must-not = "run past its CPU limit"
# allowed = ["timeout"]
# ///
"""

from __future__ import annotations

import ast
import platform
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.types import Case, Outcome, Program

HERE = Path(__file__).resolve().parent
_HEADER = re.compile(r"\A# /// (\w+)\n((?:#[^\n]*\n)*?)# ///\n")


@dataclass(frozen=True)
class File:
    """``source`` is the whole file, so that it runs as it stands; bytes that are no UTF-8 become surrogates."""

    name: str
    header: dict[str, Any]
    source: str


def read_folder(kind: str, known: set[str]) -> list[File]:
    """The programs of ``<kind>``'s folder, by name. Raises ValueError for a header with unknown fields."""
    files = []
    for path in sorted(
        (HERE / {"attack": "attacks", "forgery": "forgeries", "program": "legitimate"}[kind]).glob("*.py")
    ):
        source = path.read_bytes().decode("utf-8", "surrogateescape")
        match = _HEADER.match(source)
        if match is None or match[1] != kind:
            raise ValueError(f"{path}: does not start with '# /// {kind}'")
        header = tomllib.loads("\n".join(line[2:] for line in match[2].splitlines()))
        if unknown := header.keys() - known:
            raise ValueError(f"{path}: unknown header fields {sorted(unknown)}")
        files.append(File(path.stem, header, source))
    return files


@dataclass(frozen=True)
class Attack:
    """``attack()`` must end in one of ``allowed``; if that is ok, ``returns`` (or ``prints``), where given, is the
    only value (or text) allowed. ``returns_at``: the levels that promise it; empty for all. ``stopped_by``: the
    ``runner``, whose code is the same at every level, or what the ``level`` itself does.
    """

    name: str
    source: str
    must_not: str
    allowed: tuple[Outcome, ...]
    kind: str
    call: str
    returns: str | None
    returns_at: tuple[str, ...]
    prints: str | None
    stopped_by: str

    def program(self, values: dict[str, object], marker: str) -> Program:
        """``values`` fill the placeholders of the call; the source ends with a comment that holds ``marker``."""
        call = self.call.format(**{name: repr(value) for name, value in values.items()})
        case = Case("0", "stdin", stdin=marker) if self.kind == "stdin" else Case("0", "call", call=call)
        return Program(f"{self.source}\n# {marker}\n", (case,))


def attacks() -> list[Attack]:
    """Read the attacks that make sense on this machine."""
    found = []
    known = {"must-not", "allowed", "returns", "returns-at", "call", "kind", "prints", "machine", "stopped-by"}
    for file in read_folder("attack", known):
        header = file.header
        if header.get("machine", platform.machine()) != platform.machine():
            continue
        stopped_by = header.get("stopped-by", "level")
        if stopped_by not in ("runner", "level"):
            raise ValueError(f"{file.name}: stopped-by is {stopped_by!r}")
        if "returns" in header:
            ast.literal_eval(header["returns"])
        found.append(
            Attack(
                name=file.name,
                source=file.source,
                must_not=header["must-not"],
                allowed=tuple(map(Outcome, header["allowed"])),
                kind=header.get("kind", "call"),
                call=header.get("call", "attack()"),
                returns=header.get("returns"),
                returns_at=tuple(header.get("returns-at", ())),
                prints=header.get("prints"),
                stopped_by=stopped_by,
            )
        )
    return found


@dataclass(frozen=True)
class Legitimate:
    """A script that prints ``prints`` and ends with ``exit_code`` when it reads ``stdin``."""

    name: str
    source: str
    stdin: str
    prints: str
    exit_code: int

    def program(self) -> Program:
        return Program(self.source, (Case(self.name, "stdin", stdin=self.stdin),))


def legitimate() -> list[Legitimate]:
    return [
        Legitimate(
            name=file.name,
            source=file.source,
            stdin=file.header.get("stdin", ""),
            prints=file.header["prints"],
            exit_code=file.header.get("exit-code", 0),
        )
        for file in read_folder("program", {"stdin", "prints", "exit-code"})
    ]


@dataclass(frozen=True)
class Forgery:
    """A wrong solution that tries to pass. ``passes``: kinds of tests that hold a line its answer is right for, by
    luck. ``hangs``: it takes all the time it is given.
    """

    name: str
    hack: str
    source: str
    passes: tuple[str, ...]
    hangs: bool


def forgeries() -> list[Forgery]:
    return [
        Forgery(
            name=file.name,
            hack=file.header["hack"],
            source=file.source + _TAIL,
            passes=tuple(file.header.get("passes", ())),
            hangs=file.header.get("hangs", False),
        )
        for file in read_folder("forgery", {"hack", "passes", "hangs"})
    ]


#: Gives every name that a task asks for to what the forgery defines: ``forge``, whatever it is called with.
_TAIL = """
if "forge" in globals():
    for name in ("total", "mean", "words", "greet", "is_even", "grow", "fail"):
        globals().setdefault(name, forge)

    class Shelf:
        def __init__(self, *arguments):
            pass

        def push(self, *arguments):
            return forge(*arguments)

        def pop(self, *arguments):
            return forge(*arguments)

        def __len__(self):
            return forge()

        def __contains__(self, item):
            return forge(item)

    globals().setdefault("Stack", Shelf)
    globals().setdefault("make_stack", Shelf)
    if __name__ == "__main__":
        print(forge(input()))
"""
